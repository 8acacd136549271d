# The tests of the Python package: each file tests/python/test_<name>.py is the test python.<name>.<version>, and each
# program examples/python/<name>.py the test python.example.<name>.<version>.
#
# They run under CPython 3.11, which is Debian 12's, and under the newest other version that the machine has; with
# MUSTER_PYTHON_ALL under every one from 3.9 on. For each there is a virtual environment in the build directory, which
# the test python.environment.<version> makes. An AddressSanitizer build runs them under 3.11 alone; there is no such
# thing as a Python program under ThreadSanitizer with an interpreter that is not.

option(MUSTER_PYTHON_ALL "Test the Python package under every CPython of this machine" OFF)

if(MUSTER_SANITIZE AND NOT MUSTER_SANITIZE MATCHES "address")
    return()
endif()

execute_process(COMMAND "${PROJECT_SOURCE_DIR}/scripts/python-interpreters" OUTPUT_VARIABLE python_lines
                OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REPLACE "\n" ";" python_lines "${python_lines}")
set(python_chosen)
set(python_others 0)
foreach(line ${python_lines})
    if(line MATCHES "^3\\.11 ")
        list(APPEND python_chosen "${line}")
    elseif(NOT MUSTER_SANITIZE AND (python_others EQUAL 0 OR MUSTER_PYTHON_ALL))
        list(APPEND python_chosen "${line}")
        set(python_others 1)
    endif()
endforeach()

# What does not run is said by ctest, in its last lines.
function(python_missing name)
    add_test(NAME ${name} COMMAND false)
    set_tests_properties(${name} PROPERTIES DISABLED TRUE LABELS python)
endfunction()
if(NOT python_lines MATCHES "3\\.11 ")
    python_missing(python.no-CPython-3.11-on-this-machine)
endif()
if(python_others EQUAL 0 AND NOT MUSTER_SANITIZE)
    python_missing(python.no-CPython-but-3.11-on-this-machine)
endif()

file(GLOB python_tests CONFIGURE_DEPENDS python/test_*.py)
file(GLOB python_examples CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/python/*.py")

function(python_version version interpreter)
    set(environment "${CMAKE_BINARY_DIR}/python/${version}")
    set(checks FALSE)
    if(version STREQUAL "3.11" AND NOT MUSTER_SANITIZE)
        set(checks TRUE)
    endif()
    add_test(NAME python.environment.${version}
             COMMAND "${PROJECT_SOURCE_DIR}/scripts/python-venv" "${interpreter}" "${environment}"
                     "$<TARGET_FILE_DIR:muster_static>" $<IF:$<BOOL:${checks}>,test$<COMMA>check,test>)
    muster_test(python.environment.${version} python 600)
    set_tests_properties(python.environment.${version} PROPERTIES FIXTURES_SETUP python-${version})
    foreach(script ${python_tests})
        get_filename_component(name "${script}" NAME_WE)
        string(REGEX REPLACE "^test_" "" name "${name}")
        set(name python.${name}.${version})
        add_test(NAME ${name} COMMAND env "${environment}/bin/python" -m pytest -q -p no:cacheprovider "${script}"
                 WORKING_DIRECTORY "${environment}")
        muster_test(${name} python 300)
        set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT PYTHONDONTWRITEBYTECODE=1
                                          "PYTHONPATH=${CMAKE_CURRENT_SOURCE_DIR}/python") # for workers elsewhere too
        set_property(TEST ${name} APPEND PROPERTY FIXTURES_REQUIRED python-${version})
    endforeach()
    # The examples, as a reader would run them: as programs, and the notebook as if it were typed.
    foreach(script ${python_examples})
        get_filename_component(stem "${script}" NAME_WE)
        set(name python.example.${stem}.${version})
        if(stem STREQUAL "notebook")
            add_test(NAME ${name} COMMAND sh -c "exec \"$1\" <\"$2\"" sh "${environment}/bin/python" "${script}")
        elseif(stem STREQUAL "mixed")
            add_test(NAME ${name} COMMAND env "${environment}/bin/python" "${script}" "${MUSTER_TEST_BIN_DIR}/text.so")
        else()
            add_test(NAME ${name} COMMAND env "${environment}/bin/python" "${script}")
        endif()
        muster_test(${name} python 120)
        set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
        set_property(TEST ${name} APPEND PROPERTY FIXTURES_REQUIRED python-${version})
    endforeach()
    if(checks)
        set(package "${PROJECT_SOURCE_DIR}/bindings/python")
        set(bin "${environment}/bin")
        set(python_checked "${package}" "${PROJECT_SOURCE_DIR}/tests/python" "${PROJECT_SOURCE_DIR}/examples/python"
                           "${PROJECT_SOURCE_DIR}/bench/peers/package.py")
        add_test(NAME python.types COMMAND env "${bin}/mypy" --config-file pyproject.toml
                                           --cache-dir "${environment}/mypy" muster WORKING_DIRECTORY "${package}")
        add_test(NAME python.lint COMMAND env "${bin}/ruff" check --no-cache ${python_checked}
                                          --config "${package}/pyproject.toml")
        add_test(NAME python.layout COMMAND env "${bin}/ruff" format --no-cache --check ${python_checked}
                                            --config "${package}/pyproject.toml")
        foreach(name python.types python.lint python.layout)
            muster_test(${name} python 120)
            set_property(TEST ${name} APPEND PROPERTY FIXTURES_REQUIRED python-${version})
        endforeach()
    endif()
endfunction()

foreach(line ${python_chosen})
    string(REGEX MATCH "^(3\\.[0-9]+) (.*)$" line "${line}")
    python_version("${CMAKE_MATCH_1}" "${CMAKE_MATCH_2}")
endforeach()

# How everything is compiled: the language, the warnings, the sanitizers.
#
# The target muster_build carries it all; what the project compiles links it, and nothing of it is installed.

option(MUSTER_WERROR "Warnings are errors" ON)
option(MUSTER_FUZZ "Build tests/fuzz/fuzz_*.c as libFuzzer programs (clang only)" OFF)
set(MUSTER_SANITIZE "" CACHE STRING "Sanitizers, comma-separated: 'address,undefined' or 'thread'")

get_property(muster_many_configurations GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT CMAKE_BUILD_TYPE AND NOT muster_many_configurations)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()
# CMake's own RelWithDebInfo adds -DNDEBUG; assertions state what must hold and stay on.
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g" CACHE STRING "Flags of RelWithDebInfo builds" FORCE)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(muster_build INTERFACE)
target_include_directories(muster_build INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/bindings/c")
target_compile_definitions(muster_build INTERFACE _GNU_SOURCE)
target_compile_options(
    muster_build INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
                           $<$<BOOL:${MUSTER_WERROR}>:-Werror>)

if(MUSTER_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "MUSTER_FUZZ needs libFuzzer, which comes with clang: configure with CC=clang")
    endif()
    if(NOT MUSTER_SANITIZE)
        set(MUSTER_SANITIZE "address,undefined")
    endif()
    target_compile_options(muster_build INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(MUSTER_SANITIZE)
    # For the whole tree, not only muster_build: a program is linked by the options of the directory it stands in.
    add_compile_options(-fsanitize=${MUSTER_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${MUSTER_SANITIZE})
    # For tests that cannot hold under a sanitizer, such as a limit on address space.
    add_compile_definitions(MUSTER_SANITIZED)
endif()

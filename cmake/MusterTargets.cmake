# The kinds of thing the tree is built into, one function each.

set(MUSTER_DEPENDENCIES nng::nng muster::msgpackc muster::mbedcrypto Threads::Threads ${CMAKE_DL_LIBS} rt m)

# muster_link_whole(<target>): link every object of the library and show the public names to what the program loads.
# A static archive would bring only what the program itself calls, and a plugin may call anything in muster.h.
function(muster_link_whole target)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:muster_objects>)
    target_link_libraries(${target} PRIVATE muster_build ${MUSTER_DEPENDENCIES})
    set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
endfunction()

# muster_add_program(<target> <source>...): an installed program, or nothing while its source is missing.
function(muster_add_program target)
    foreach(source ${ARGN})
        get_filename_component(path "${source}" ABSOLUTE)
        if(EXISTS "${path}")
            list(APPEND sources "${path}")
        endif()
    endforeach()
    if(NOT sources)
        message(STATUS "${target}: no source, skipped")
        return()
    endif()
    add_executable(${target} ${sources})
    muster_link_whole(${target})
    set_property(GLOBAL APPEND PROPERTY MUSTER_PROGRAMS ${target})
endfunction()

# muster_add_plugin(<target> <output name> <source>): a module of task functions. It leaves the names of muster.h to
# the program that loads it, so that program and plugin never hold two copies of the library.
function(muster_add_plugin target output source)
    add_library(${target} MODULE ${source})
    target_link_libraries(${target} PRIVATE muster_build muster::msgpackc)
    set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${output}
                                               LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
endfunction()

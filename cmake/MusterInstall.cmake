# What `cmake --install` puts in place, and how a user's build finds it: pkg-config and a CMake package.
#
# Everything is relocatable: the tree may be moved, or installed with --prefix, after it was configured.

include(CMakePackageConfigHelpers)

set(muster_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/muster")
get_property(muster_programs GLOBAL PROPERTY MUSTER_PROGRAMS)

# Two export sets, because only the static library needs the packages of its dependencies at the user's side.
install(TARGETS muster EXPORT muster-shared LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
set_target_properties(muster_static PROPERTIES EXPORT_NAME muster_static)
install(TARGETS muster_static EXPORT muster-static ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
if(muster_programs)
    install(TARGETS ${muster_programs} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(FILES bindings/c/muster.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

install(EXPORT muster-shared NAMESPACE muster:: DESTINATION "${muster_package_dir}")
install(EXPORT muster-static NAMESPACE muster:: DESTINATION "${muster_package_dir}")
configure_package_config_file(cmake/muster-config.cmake.in muster-config.cmake
                              INSTALL_DESTINATION "${muster_package_dir}")
write_basic_package_version_file(muster-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/muster-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/muster-config-version.cmake"
              cmake/FindMsgpackC.cmake cmake/FindMbedCrypto.cmake DESTINATION "${muster_package_dir}")

# The prefix in muster.pc is written as the way back from where the file lies.
file(RELATIVE_PATH muster_pc_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" muster_pc_prefix "${muster_pc_prefix}")
configure_file(cmake/muster.pc.in muster.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/muster.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

foreach(section 1 3 5 7 8)
    file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
    if(pages)
        install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
    endif()
endforeach()
install(FILES cli/completion/muster.bash DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME muster
        OPTIONAL)
file(GLOB pages CONFIGURE_DEPENDS docs/*.md)
install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_DOCDIR}/docs")
install(DIRECTORY examples DESTINATION "${CMAKE_INSTALL_DOCDIR}" PATTERN CMakeLists.txt EXCLUDE)

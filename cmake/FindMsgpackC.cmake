# Finds msgpack-c, the C library alone, and gives the target muster::msgpackc.
#
# Its own CMake package is called "msgpack", as is the one of the C++ library that is often installed beside it, and
# either may answer; so this looks for the library and the header by name.

find_path(MsgpackC_INCLUDE_DIR msgpack/pack.h)
find_library(MsgpackC_LIBRARY NAMES msgpackc msgpack-c)

if(MsgpackC_INCLUDE_DIR AND EXISTS "${MsgpackC_INCLUDE_DIR}/msgpack/version_master.h")
    file(STRINGS "${MsgpackC_INCLUDE_DIR}/msgpack/version_master.h" MsgpackC_numbers REGEX "MSGPACK_VERSION_[A-Z]+ +[0-9]+")
    string(REGEX REPLACE "[^0-9;]" "" MsgpackC_numbers "${MsgpackC_numbers}")
    list(JOIN MsgpackC_numbers "." MsgpackC_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
    MsgpackC
    REQUIRED_VARS MsgpackC_LIBRARY MsgpackC_INCLUDE_DIR
    VERSION_VAR MsgpackC_VERSION)
mark_as_advanced(MsgpackC_INCLUDE_DIR MsgpackC_LIBRARY)

if(MsgpackC_FOUND AND NOT TARGET muster::msgpackc)
    add_library(muster::msgpackc UNKNOWN IMPORTED)
    set_target_properties(muster::msgpackc PROPERTIES IMPORTED_LOCATION "${MsgpackC_LIBRARY}"
                                                      INTERFACE_INCLUDE_DIRECTORIES "${MsgpackC_INCLUDE_DIR}")
endif()

# Finds the crypto library of mbed TLS (which has no CMake package before 3.0) and gives the target muster::mbedcrypto.

find_path(MbedCrypto_INCLUDE_DIR mbedtls/md.h)
find_library(MbedCrypto_LIBRARY NAMES mbedcrypto)

# 2.x writes its version in version.h, 3.x in build_info.h.
foreach(MbedCrypto_header version.h build_info.h)
    if(MbedCrypto_INCLUDE_DIR AND EXISTS "${MbedCrypto_INCLUDE_DIR}/mbedtls/${MbedCrypto_header}")
        file(STRINGS "${MbedCrypto_INCLUDE_DIR}/mbedtls/${MbedCrypto_header}" MbedCrypto_line
             REGEX "define MBEDTLS_VERSION_STRING +\"")
        if(MbedCrypto_line MATCHES "\"([0-9.]+)\"")
            set(MbedCrypto_VERSION "${CMAKE_MATCH_1}")
        endif()
    endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
    MbedCrypto
    REQUIRED_VARS MbedCrypto_LIBRARY MbedCrypto_INCLUDE_DIR
    VERSION_VAR MbedCrypto_VERSION)
mark_as_advanced(MbedCrypto_INCLUDE_DIR MbedCrypto_LIBRARY)

if(MbedCrypto_FOUND AND NOT TARGET muster::mbedcrypto)
    add_library(muster::mbedcrypto UNKNOWN IMPORTED)
    set_target_properties(muster::mbedcrypto PROPERTIES IMPORTED_LOCATION "${MbedCrypto_LIBRARY}"
                                                        INTERFACE_INCLUDE_DIRECTORIES "${MbedCrypto_INCLUDE_DIR}")
endif()

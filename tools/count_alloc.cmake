# For LD_PRELOAD by table.py; the sanitizers bring an allocator of their own.
if(NOT SC_SANITIZE)
  add_library(count_alloc MODULE ${CMAKE_CURRENT_LIST_DIR}/bench/count_alloc.c)
  target_link_libraries(count_alloc PRIVATE sc_flags)
  set_target_properties(count_alloc PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endif()

sc_program(augment_bench NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/augment_bench.c
  ROOMS backend_cpu comm tensor base)

sc_program(pack_bench NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/pack_bench.c
  ROOMS data codec base)

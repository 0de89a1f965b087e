sc_program(step_bench NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/step_bench.c
  ROOMS model nn backend_cpu comm tensor base)

sc_program(encoder_step NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/encoder_step.c
  ROOMS model nn weights backend_cpu comm tensor base)

sc_program(gradient_error NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/gradient_error.c
  ROOMS model nn weights backend_cpu backend_ref comm tensor base)
target_include_directories(gradient_error PRIVATE ${CMAKE_SOURCE_DIR}/src/backend/cpu) # winograd.h

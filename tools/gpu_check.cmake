# The op rows and whole steps of the tests, on the real device behind libsc_cuda.so.
sc_program(gpu_check NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/gpu_check.c ${CMAKE_CURRENT_LIST_DIR}/gpu_speed.c
    ${CMAKE_CURRENT_LIST_DIR}/gpu_libraries.c ${CMAKE_CURRENT_LIST_DIR}/cli.c ${CMAKE_SOURCE_DIR}/tests/cuda/check_ops.c ${CMAKE_SOURCE_DIR}/tests/cuda/check_step.c
    ${CMAKE_SOURCE_DIR}/tests/backend/harness.c ${CMAKE_SOURCE_DIR}/tests/backend/cases.c
  ROOMS model nn backend_cpu backend_ref backend_plugin comm data tensor base)
target_include_directories(gpu_check PRIVATE ${CMAKE_SOURCE_DIR}/tests/cuda ${CMAKE_SOURCE_DIR}/tests/backend)

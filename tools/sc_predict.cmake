sc_program(sc_predict
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/sc_predict.c ${CMAKE_CURRENT_LIST_DIR}/predict_options.c
    ${CMAKE_CURRENT_LIST_DIR}/predict_output.c ${CMAKE_CURRENT_LIST_DIR}/cli.c
    ${CMAKE_CURRENT_LIST_DIR}/cli_progress.c
  ROOMS infer json backend_cpu backend_plugin backend_ref)

sc_program(sc_export SOURCES ${CMAKE_CURRENT_LIST_DIR}/sc_export.c ${CMAKE_CURRENT_LIST_DIR}/cli.c
  ROOMS weights json base)

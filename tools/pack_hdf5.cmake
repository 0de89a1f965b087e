sc_program(pack_hdf5
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/pack_hdf5.c ${CMAKE_CURRENT_LIST_DIR}/pack_options.c
    ${CMAKE_CURRENT_LIST_DIR}/pack_progress.c ${CMAKE_CURRENT_LIST_DIR}/cli.c ${CMAKE_CURRENT_LIST_DIR}/cli_progress.c
  ROOMS base comm data)

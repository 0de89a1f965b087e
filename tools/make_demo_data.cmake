sc_program(make_demo_data SOURCES ${CMAKE_CURRENT_LIST_DIR}/make_demo_data.c ${CMAKE_CURRENT_LIST_DIR}/demo_scene.c
  ROOMS data base)

# Not installed: packing speed, beside tools/bench/pack_pillow.py.
add_executable(pack_bench ${CMAKE_CURRENT_LIST_DIR}/bench/pack_bench.c)
target_link_libraries(pack_bench PRIVATE sc_data sc_codec sc_base sc_flags)

#include "superclip/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits(float v)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static void shapes_count_and_print(void **state)
{
    (void)state;
    char text[96];
    sc_shape s = SC_SHAPE(64, 3, 7, 7), scalar = {0};
    assert_int_equal(s.n, 4);
    assert_int_equal(sc_shape_count(&s), 64 * 3 * 49);
    assert_int_equal(sc_shape_count(&scalar), 1);
    assert_string_equal(sc_shape_text(&s, text), "[64, 3, 7, 7]");
    assert_string_equal(sc_shape_text(&scalar, text), "[]");
    const int64_t huge = INT64_MAX / 3;
    assert_int_equal(sc_shape_count(&SC_SHAPE(huge, 4)), -1);
    assert_int_equal(sc_shape_count(&SC_SHAPE(huge, 4, 0)), 0);
    assert_int_equal(sc_shape_count(&SC_SHAPE(2, -1)), -1);
    assert_int_equal(sc_shape_count(&SC_SHAPE(0, -1)), -1);
    assert_true(sc_shape_equal(&s, &SC_SHAPE(64, 3, 7, 7)));
    assert_false(sc_shape_equal(&s, &SC_SHAPE(64, 3, 7)));
    assert_false(sc_shape_equal(&s, &SC_SHAPE(64, 3, 7, 8)));
    sc_shape wide = SC_SHAPE(huge, huge, huge, huge, huge, huge, huge, huge);
    sc_shape_text(&wide, text);
    assert_true(strlen(text) < sizeof text);
    assert_string_equal(text + strlen(text) - 4, "...]");
}

static void elements_of_every_type_come_back(void **state)
{
    (void)state;
    static const struct {
        sc_dtype t;
        double in, out;
    } rows[] = {
        {SC_F32, 0.1, (double)0.1f},
        {SC_F64, 0.1, 0.1},
        {SC_BF16, 1.00390625, 1.0},
        {SC_F16, 0.1, 0.0999755859375},
        {SC_I64, 0x1p53, 0x1p53},
        {SC_I64, 1e30, 9223372036854775807.0},
        {SC_I32, -7.9, -7},
        {SC_I32, 1e20, INT32_MAX},
        {SC_I16, -40000, INT16_MIN},
        {SC_I8, 127.5, 127},
        {SC_U8, -3, 0},
        {SC_U8, 300, 255},
        {SC_BOOL, 2, 1},
        {SC_BOOL, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_tensor t;
        assert_int_equal(sc_tensor_new("x", rows[i].t, SC_SHAPE(3), &t), SC_OK);
        assert_int_equal(sc_tensor_bytes(&t), 3 * sc_dtype_size(rows[i].t));
        sc_tensor_set_element(&t, 1, rows[i].in);
        assert_true(sc_tensor_get(&t, 0) == 0 && sc_tensor_get(&t, 2) == 0);
        assert_true(sc_tensor_get(&t, 1) == rows[i].out);
        sc_tensor_free(&t);
    }
    sc_tensor t;
    assert_int_equal(sc_tensor_new("x", SC_F32, SC_SHAPE(INT64_MAX / 2), &t), SC_ENOMEM);
    assert_int_equal(sc_tensor_new("x", SC_F32, SC_SHAPE(-1), &t), SC_ENOMEM);
    sc_tensor_free(&t);
}

static void sets_keep_order_and_refuse_twins(void **state)
{
    (void)state;
    sc_tensor_set s = {0};
    char name[16];
    for (int i = 0; i < 40; i++) {
        sc_tensor t;
        snprintf(name, sizeof name, "w%d", 39 - i);
        assert_int_equal(sc_tensor_new(name, SC_F32, SC_SHAPE(i), &t), SC_OK);
        assert_int_equal(sc_tensor_set_add(&s, &t), SC_OK);
        assert_null(t.data);
    }
    assert_string_equal(s.items[0].name, "w39");
    assert_int_equal(sc_tensor_set_find(&s, "w30")->shape.d[0], 9);
    assert_null(sc_tensor_set_find(&s, "w40"));
    sc_tensor t;
    assert_int_equal(sc_tensor_new("w7", SC_F32, SC_SHAPE(1), &t), SC_OK);
    assert_int_equal(sc_tensor_set_add(&s, &t), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "'w7' appears twice"));
    assert_int_equal(sc_tensor_new(NULL, SC_F32, SC_SHAPE(1), &t), SC_OK);
    assert_int_equal(sc_tensor_set_add(&s, &t), SC_EINTERNAL);
    assert_int_equal(s.count, 40);
    sc_tensor_set_free(&s);
    assert_int_equal(s.count, 0);
}

static void bfloat16_rounds_to_even(void **state)
{
    (void)state;
    static const struct {
        uint32_t in;
        uint16_t out;
    } rows[] = {{0x3F800000, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F818000, 0x3F82},
                {0x3F808001, 0x3F81}, {0x3F80FFFF, 0x3F81}, {0x7F7FFFFF, 0x7F80},
                {0xFF800000, 0xFF80}, {0x80000000, 0x8000}, {0x00008000, 0x0000},
                {0x00018000, 0x0002}, {0x7F800001, 0x7FC0}, {0xFFFFFFFF, 0xFFFF}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float v;
        memcpy(&v, &rows[i].in, sizeof v);
        assert_int_equal(sc_f32_to_bf16(v), rows[i].out);
    }
    for (uint32_t h = 0; h < 0x10000; h++) {
        float v = sc_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits(v), h << 16);
        if (!isnan(v))
            assert_int_equal(sc_f32_to_bf16(v), h);
    }
}

static void float16_goes_both_ways(void **state)
{
    (void)state;
    assert_true(sc_f16_to_f32(0x3C00) == 1.0f);
    assert_true(sc_f16_to_f32(0x7BFF) == 65504.0f);
    assert_true(sc_f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(sc_f16_to_f32(0x8400) == -0x1p-14f);
    assert_int_equal(bits(sc_f16_to_f32(0x8000)), 0x80000000u);
    assert_true(isinf(sc_f16_to_f32(0xFC00)));
    for (uint32_t h = 0; h < 0x10000; h++) {
        float v = sc_f16_to_f32((uint16_t)h);
        if (isnan(v))
            assert_true((h & 0x7C00) == 0x7C00 && isnan(sc_f16_to_f32(sc_f64_to_f16((double)v))));
        else
            assert_int_equal(sc_f64_to_f16((double)v), h);
    }
    /* halfway between neighbours: the even one; a hair beyond: the nearer one */
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        double low = (double)sc_f16_to_f32((uint16_t)h),
               high = (double)sc_f16_to_f32((uint16_t)(h + 1));
        double middle = (low + high) / 2;
        assert_int_equal(sc_f64_to_f16(middle), h % 2 ? h + 1 : h);
        assert_int_equal(sc_f64_to_f16(nextafter(middle, high)), h + 1);
        assert_int_equal(sc_f64_to_f16(nextafter(middle, low)), h);
    }
    assert_int_equal(sc_f64_to_f16(65519.99), 0x7BFF);
    assert_int_equal(sc_f64_to_f16(65520.0), 0x7C00);
    assert_int_equal(sc_f64_to_f16(-1e300), 0xFC00);
    assert_int_equal(sc_f64_to_f16(0x1p-25), 0);
    assert_int_equal(sc_f64_to_f16(0x1.8p-24), 2);
}

/* Bits of torchvision's ToTensor and Normalize on bytes 0, 1, 127, 128, 255. */
static void the_normalisation_table_is_torchvisions(void **state)
{
    (void)state;
    static const uint32_t expected[3][5] = {
        {0xc0078bbd, 0xc006732b, 0x3d6939a6, 0x3d97af32, 0x400fee1d},
        {0xc0024924, 0xc0012a4f, 0x3e402de4, 0x3e521b48, 0x401b6db7},
        {0xbfe6f809, 0xbfe4bcea, 0x3ed170bd, 0x3eda5d3c, 0x4028f5c3},
    };
    static const int bytes[5] = {0, 1, 127, 128, 255};
    float table[3][256];
    sc_normalize_table(table);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 5; i++)
            assert_int_equal(bits(table[c][bytes[i]]), expected[c][i]);
    for (int c = 0; c < 3; c++)
        for (int v = 1; v < 256; v++)
            assert_true(table[c][v] > table[c][v - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_count_and_print),
        cmocka_unit_test(elements_of_every_type_come_back),
        cmocka_unit_test(sets_keep_order_and_refuse_twins),
        cmocka_unit_test(bfloat16_rounds_to_even),
        cmocka_unit_test(float16_goes_both_ways),
        cmocka_unit_test(the_normalisation_table_is_torchvisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

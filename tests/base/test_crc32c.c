/* CRC-32C: published vectors, and the table against the instruction. Includes the source itself:
 * the table would otherwise run on processors without SSE4.2 only, which no test machine is. */
#include "../../src/base/crc32c.c"

#include <setjmp.h>

#include <cmocka.h>

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
static void published_vectors(void **state)
{
    (void)state;
    unsigned char bytes[32];
    assert_int_equal(sc_crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(sc_crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(sc_crc32c(0, bytes, 32), 0x8A9136AAu);
    memset(bytes, 0xFF, sizeof bytes);
    assert_int_equal(sc_crc32c(0, bytes, 32), 0x62A8AB43u);
    for (unsigned char i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(sc_crc32c(0, bytes, 32), 0x46DD794Eu);
}

static void pieces_and_table_agree(void **state)
{
    (void)state;
    unsigned char bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i * 29 + i * 37 + 11);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint32_t whole = sc_crc32c(0, bytes, n);
        assert_int_equal(whole, ~crc_table(~0u, bytes, n));
        for (size_t cut = 0; cut <= n; cut += 7)
            assert_int_equal(sc_crc32c(sc_crc32c(0, bytes, cut), bytes + cut, n - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(pieces_and_table_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Inflate, gunzip, CRC-32, SHA-256. zlib itself makes the compressed inputs. */
#include "superclip/codec.h"

#include "../../src/codec/sha256_blocks.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

enum { PLAIN = 20000 };

static void fill(unsigned char *p)
{
    for (size_t i = 0; i < PLAIN; i++)
        p[i] = (unsigned char)((i * i * 29 + i * 37 + 11) >> (i % 5));
}

/* window_bits: -15 raw deflate, 31 gzip. Returns the packed size. */
static size_t pack(const unsigned char *plain, size_t n, int window_bits, unsigned char *out,
                   size_t cap)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)plain;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t packed = cap - z.avail_out;
    deflateEnd(&z);
    return packed;
}

static void crc32_is_zips(void **state)
{
    (void)state;
    assert_int_equal(sc_crc32(0, "123456789", 9), 0xCBF43926u);
    assert_int_equal(sc_crc32(sc_crc32(0, "1234", 4), "56789", 5), 0xCBF43926u);
    assert_int_equal(sc_crc32(0, NULL, 0), 0);
    /* every length and place up to a few blocks, going on from any sum, as zlib counts */
    unsigned char bytes[PLAIN];
    fill(bytes);
    for (size_t n = 0; n < 400; n++)
        for (size_t at = 0; at < 17; at++) {
            uint32_t before = (uint32_t)(n * 2654435761u + at);
            assert_int_equal(sc_crc32(before, bytes + at, n),
                             crc32(before, bytes + at, (unsigned int)n));
        }
    assert_int_equal(sc_crc32(0, bytes, PLAIN), crc32(0, bytes, PLAIN));
    assert_int_equal(sc_crc32(sc_crc32(0, bytes, 1000), bytes + 1000, PLAIN - 1000),
                     crc32(0, bytes, PLAIN));
}

static void inflate_wants_exactly_the_declared_size(void **state)
{
    (void)state;
    static unsigned char plain[PLAIN], packed[PLAIN + 100], out[PLAIN + 1];
    fill(plain);
    size_t n = pack(plain, PLAIN, -15, packed, sizeof packed);
    assert_int_equal(sc_inflate_raw(packed, n, out, PLAIN), SC_OK);
    assert_memory_equal(out, plain, PLAIN);
    assert_int_equal(sc_inflate_raw(packed, n, out, PLAIN - 1), SC_EFORMAT);
    assert_int_equal(sc_inflate_raw(packed, n, out, PLAIN + 1), SC_EFORMAT);
    assert_int_equal(sc_inflate_raw(packed, n, out, 0), SC_EFORMAT);
    assert_int_equal(sc_inflate_raw(packed, n + 1, out, PLAIN), SC_EFORMAT);
    for (size_t cut = 0; cut < n; cut += 1 + n / 200)
        assert_int_equal(sc_inflate_raw(packed, cut, out, PLAIN), SC_EFORMAT);
    n = pack(plain, 0, -15, packed, sizeof packed);
    assert_int_equal(sc_inflate_raw(packed, n, out, 0), SC_OK);
}

static void inflate_survives_damage(void **state)
{
    (void)state;
    static unsigned char plain[PLAIN], packed[PLAIN + 100], out[PLAIN];
    fill(plain);
    size_t n = pack(plain, 2000, -15, packed, sizeof packed);
    for (size_t i = 0; i < n; i++) {
        packed[i] ^= 0x5A;
        sc_status s = sc_inflate_raw(packed, n, out, 2000);
        assert_true(s == SC_OK || s == SC_EFORMAT);
        packed[i] ^= 0x5A;
    }
}

static void gunzip_reads_members_up_to_a_bound(void **state)
{
    (void)state;
    static unsigned char plain[PLAIN], packed[2 * PLAIN + 200];
    char *out;
    size_t made;
    fill(plain);
    size_t n = pack(plain, PLAIN, 31, packed, sizeof packed);
    assert_true(sc_is_gzip(packed, n));
    assert_false(sc_is_gzip("\x1f", 1));
    assert_int_equal(sc_gunzip(packed, n, PLAIN, &out, &made), SC_OK);
    assert_int_equal(made, PLAIN);
    assert_memory_equal(out, plain, PLAIN);
    free(out);
    assert_int_equal(sc_gunzip(packed, n, PLAIN - 1, &out, &made), SC_EFORMAT);
    assert_null(out);
    assert_int_equal(sc_gunzip(packed, n - 1, PLAIN, &out, &made), SC_EFORMAT);
    size_t second = pack(plain, 100, 31, packed + n, sizeof packed - n);
    assert_int_equal(sc_gunzip(packed, n + second, 2 * PLAIN, &out, &made), SC_OK);
    assert_int_equal(made, PLAIN + 100);
    assert_memory_equal(out + PLAIN, plain, 100);
    free(out);
    packed[n + second] = 'x';
    assert_int_equal(sc_gunzip(packed, n + second + 1, 2 * PLAIN, &out, &made), SC_EFORMAT);
    packed[n - 5] ^= 1; /* the checksum of the first member */
    assert_int_equal(sc_gunzip(packed, n + second, 2 * PLAIN, &out, &made), SC_EFORMAT);
    assert_int_equal(sc_gunzip("plain text", 10, PLAIN, &out, &made), SC_EFORMAT);
    n = pack(plain, 0, 31, packed, sizeof packed);
    assert_int_equal(sc_gunzip(packed, n, PLAIN, &out, &made), SC_OK);
    assert_int_equal(made, 0);
    assert_string_equal(out, "");
    free(out);
}

/* FIPS 180-4 examples (NIST) and the million a. */
static void sha256_gives_the_published_digests(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    sc_sha256 s;
    uint8_t digest[32];
    char hex[65];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_sha256_init(&s);
        sc_sha256_update(&s, rows[i][0], strlen(rows[i][0]));
        sc_sha256_final(&s, digest);
        sc_sha256_hex(digest, hex);
        assert_string_equal(hex, rows[i][1]);
    }
    char a[977];
    memset(a, 'a', sizeof a);
    sc_sha256_init(&s);
    for (size_t left = 1000000; left > 0;) {
        size_t n = left < sizeof a ? left : sizeof a;
        sc_sha256_update(&s, a, n);
        left -= n;
    }
    sc_sha256_final(&s, digest);
    sc_sha256_hex(digest, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void sha256_does_not_mind_pieces(void **state)
{
    (void)state;
    unsigned char bytes[300];
    uint8_t whole[32], pieces[32];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        sc_sha256 s;
        sc_sha256_init(&s);
        sc_sha256_update(&s, bytes, n);
        sc_sha256_final(&s, whole);
        sc_sha256_init(&s);
        sc_sha256_update(&s, bytes, n / 3);
        sc_sha256_update(&s, bytes + n / 3, n - n / 3);
        sc_sha256_final(&s, pieces);
        assert_memory_equal(whole, pieces, sizeof whole);
    }
}

static void both_ways_to_hash_agree(void **state)
{
    (void)state;
    if (!sc_sha256_has_x86())
        skip();
    uint8_t bytes[64 * 9];
    uint32_t a[8], b[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * i * 29 + i * 37 + 11);
    for (size_t blocks = 0; blocks <= 9; blocks++) {
        for (uint32_t i = 0; i < 8; i++)
            a[i] = b[i] = 0x9E3779B9u * (i + 1);
        sc_sha256_blocks_plain(a, bytes, blocks);
        sc_sha256_blocks_x86(b, bytes, blocks);
        assert_memory_equal(a, b, sizeof a);
    }
}

static void sha256_reads_files(void **state)
{
    (void)state;
    char path[] = "/tmp/sc_codec_XXXXXX";
    uint8_t digest[32];
    char hex[65];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sc_write_file(path, "abc", 3), SC_OK);
    assert_int_equal(sc_sha256_file(path, digest), SC_OK);
    sc_sha256_hex(digest, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(remove(path), 0);
    assert_int_equal(sc_sha256_file(path, digest), SC_EIO);
    assert_int_equal(sc_sha256_file("/tmp", digest), SC_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32_is_zips),
        cmocka_unit_test(inflate_wants_exactly_the_declared_size),
        cmocka_unit_test(inflate_survives_damage),
        cmocka_unit_test(gunzip_reads_members_up_to_a_bound),
        cmocka_unit_test(sha256_gives_the_published_digests),
        cmocka_unit_test(sha256_does_not_mind_pieces),
        cmocka_unit_test(both_ways_to_hash_agree),
        cmocka_unit_test(sha256_reads_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

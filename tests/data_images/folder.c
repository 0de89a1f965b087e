#include "folder.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, sc_message());
        abort();
    }
}

char *folder_new(void)
{
    char template[] = "/tmp/sc_pack_XXXXXX";
    must(mkdtemp(template) != NULL, template);
    return sc_strdup(template);
}

void folder_remove(char *folder)
{
    sc_remove_tree(folder);
    free(folder);
}

void folder_put(const char *folder, const char *name, const void *data, size_t n)
{
    char *path = sc_path_join(folder, name), *parent = sc_strdup(path);
    *strrchr(parent, '/') = '\0';
    must(sc_make_dirs(parent) == SC_OK, parent);
    unlink(path);
    FILE *f = fopen(path, "wb"); /* not sc_write_file: thousands of fsyncs take minutes */
    must(f && fwrite(data, 1, n, f) == n && fclose(f) == 0, path);
    free(path);
    free(parent);
}

void folder_copy_golden(const char *folder, const char *name, const char *golden)
{
    size_t n;
    char *data = file_of(SC_TEST_DIR "/golden/images", golden, &n);
    folder_put(folder, name, data, n);
    free(data);
}

void folder_images(const char *folder)
{
    static const char *const files[FOLDER_IMAGES][2] = {
        {"a b/1.png", "png_c2_d8_0.png"},
        {"a b/10.png", "png_c3_d8_1.png"},
        {"a b/2.BMP", "bmp_24_0.bmp"},
        {"a b/3.jpg", "jpeg_RGB_0.jpg"},
        {"B/cmyk.jpg", "jpeg_CMYK_0.jpeg"},
        {"B/i.png", "png_c6_d16_i_0.png"},
        {"B/rle.bmp", "bmp_rle8_0.bmp"},
        {"B/t.tif", "tiff_rgb_0.tif"},
        {"\xc3\xa9t\xc3\xa9/p.tiff", "tiff_palette_0.tif"},
        {"\xc3\xa9t\xc3\xa9/w.webp", "webp_0.webp"},
        {"\xc3\xa9t\xc3\xa9/x.png", "png_c0_d16_0.png"},
        {"\xc3\xa9t\xc3\xa9/y.tif", "tiff_grey12_0.tif"},
        {"\xc3\xa9t\xc3\xa9/z.jpeg", "jpeg_L_0.jpeg"},
        {"\xc3\xa9t\xc3\xa9/zz.png", "png_tall.png"},
    };
    for (int i = 0; i < FOLDER_IMAGES; i++)
        folder_copy_golden(folder, files[i][0], files[i][1]);
}

static void keep_line(void *ctx, sc_log_level level, const char *line)
{
    log_lines *l = ctx;
    size_t used = strlen(l->text);
    snprintf(l->text + used, sizeof l->text - used, "%d %s\n", level, line);
    l->count++;
}

void log_lines_init(log_lines *l)
{
    memset(l, 0, sizeof *l);
    l->log = (sc_log){keep_line, l};
}

void pack_setup_init(pack_setup *s, const char *folder)
{
    memset(s, 0, sizeof *s);
    snprintf(s->src, sizeof s->src, "%s/images", folder);
    snprintf(s->dst, sizeof s->dst, "%s/packed", folder);
    log_lines_init(&s->lines);
    s->o = (sc_pack_options){.src = s->src,
                             .dst = s->dst,
                             .img_size = 32,
                             .threads = 1,
                             .decode = {.max_pixels = 178e6},
                             .log = &s->lines.log};
}

sc_status pack_all(const sc_pack_options *o, int parts)
{
    sc_source_list l;
    SC_TRY(sc_source_scan(o->src, o->log, &l));
    sc_status status = sc_pack_begin(o, &l);
    bool begun = status == SC_OK;
    for (int p = 0; status == SC_OK && p < parts; p++)
        status = sc_pack_part(o, &l, p, parts);
    if (begun && status != SC_OK)
        sc_pack_abandon(o);
    if (status == SC_OK)
        status = sc_pack_finish(o, &l, parts);
    sc_source_list_free(&l);
    return status;
}

char *file_of(const char *folder, const char *name, size_t *n)
{
    char *path = sc_path_join(folder, name), *data;
    must(sc_read_file(path, 1 << 28, &data, n) == SC_OK, path);
    free(path);
    return data;
}

int count_names(const char *folder, const char *word)
{
    DIR *dir = opendir(folder);
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));)
        n += strstr(e->d_name, word) && strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (dir)
        closedir(dir);
    return n;
}

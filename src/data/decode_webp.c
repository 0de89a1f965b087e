/* WebP through the library's animation decoder, as Pillow: the first frame on its canvas; alpha
 * dropped. */
#include "image_priv.h"

#include <webp/decode.h>
#include <webp/demux.h>

static sc_status bad(const char *what)
{
    return sc_fail(SC_EFORMAT, "damaged WebP: %s", what);
}

static sc_status first_frame(const sc_encoded *in, WebPAnimDecoder *decoder, sc_image *out)
{
    WebPAnimInfo info;
    uint8_t *rgba = NULL;
    int timestamp;
    if (!WebPAnimDecoderGetInfo(decoder, &info))
        return bad("no frame");
    SC_TRY(sc_image_new(in, info.canvas_width, info.canvas_height, out));
    if (!WebPAnimDecoderGetNext(decoder, &rgba, &timestamp) || !rgba)
        return bad("the first frame cannot be decoded");
    size_t n = (size_t)out->width * (size_t)out->height;
    for (size_t i = 0; i < n; i++) {
        out->rgb[3 * i] = rgba[4 * i];
        out->rgb[3 * i + 1] = rgba[4 * i + 1];
        out->rgb[3 * i + 2] = rgba[4 * i + 2];
    }
    return SC_OK;
}

sc_status sc_decode_webp(const sc_encoded *in, sc_image *out)
{
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(in->data, in->n, &features) != VP8_STATUS_OK)
        return bad("its header cannot be read");
    SC_TRY(sc_image_check_size(in, (uint64_t)features.width, (uint64_t)features.height));
    WebPAnimDecoderOptions options;
    if (!WebPAnimDecoderOptionsInit(&options))
        return sc_fail(SC_EUNSUPPORTED, "libwebp has another version than at build time");
    options.color_mode = MODE_RGBA;
    WebPData data = {in->data, in->n};
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, &options);
    if (!decoder)
        return bad("the file is cut off or not consistent");
    sc_status status = first_frame(in, decoder, out);
    WebPAnimDecoderDelete(decoder);
    return status;
}

/* Stands in for NVIDIA's driver: says yes to everything until an encoder is to be initialised,
 * writes down what it was to be initialised with, and refuses.
 *
 * The layout of the structures is that of nvEncodeAPI.h, versions 11 to 13, as far as it is read.
 * OTHERS is a list of X(name): all other functions that FFmpeg looks for in libcuda.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SUCCESS 0
#define REFUSED 8 /* NV_ENC_ERR_INVALID_PARAM */

#define X(name) int name(void) { return SUCCESS; }
OTHERS
#undef X

int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int number) { return *device = number, SUCCESS; }
int cuDeviceGetName(char *name, int size, int device) { return (void)device, snprintf(name, size, "stub"), SUCCESS; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { return (void)device, *major = 8, *minor = 9, SUCCESS; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { return (void)flags, (void)device, *context = context, SUCCESS; }
int cuCtxPopCurrent_v2(void **context) { return *context = context, SUCCESS; }

typedef struct { uint32_t a; uint16_t b, c; uint8_t d[8]; } Guid;

static const Guid CODECS[] = {
    {0x6bc82762, 0x4e63, 0x4ca4, {0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf}},
    {0x790cdc88, 0x4522, 0x4d7b, {0x94, 0x25, 0xbd, 0xa9, 0x97, 0x5f, 0x76, 0x03}},
    {0x0a352289, 0x0aa7, 0x4759, {0x86, 0x2d, 0x5d, 0x15, 0xcd, 0x16, 0xd2, 0x54}},
};
static const char *NAMES[] = {"h264", "hevc", "av1"};
static const Guid P4 = {0x90a7b826, 0xdf06, 0x4862, {0xb9, 0xd2, 0xcd, 0x6d, 0x73, 0xa0, 0x86, 0x81}};

typedef struct {
    uint32_t version, mode, constant[3], average, most, buffer, delay, flags;
    uint32_t least_qp[3], most_qp[3], first_qp[3], layers;
    uint8_t layer_qp[8], quality, quality_part;
} Rates;

typedef struct {
    uint32_t version;
    Guid profile;
    uint32_t gop;
    int32_t interval;
    uint32_t grey, fields, vectors;
    Rates rates;
} Config;

typedef struct {
    uint32_t version;
    Guid codec, preset;
    uint32_t width, height, dar[2], rate[2], async, decides, flags, private_size;
    void *private_data;
    Config *config;
    uint32_t most_width, most_height, hints[8], tuning;
} Initialise;

static int initialise(void *session, const Initialise *asked) {
    (void)session;
    const char *codec = "other";
    for (int i = 0; i < 3; i++)
        if (!memcmp(&asked->codec, &CODECS[i], sizeof(Guid))) codec = NAMES[i];
    const Rates *rates = &asked->config->rates;
    fprintf(stderr, "driver: codec=%s preset=%s tuning=%u mode=%u cq=%u+%u/256 bitrate=%u size=%ux%u\n", codec,
            memcmp(&asked->preset, &P4, sizeof(Guid)) ? "other" : "p4", asked->tuning, rates->mode,
            rates->quality, rates->quality_part, rates->average, asked->width, asked->height);
    return REFUSED;
}

static int agree(void) { return SUCCESS; }
static int open_session(void *parameters, void **session) { return (void)parameters, *session = session, SUCCESS; }
static int count_codecs(void *session, uint32_t *count) { return (void)session, *count = 3, SUCCESS; }
static int list_codecs(void *session, Guid *into, uint32_t room, uint32_t *count) {
    (void)session, (void)room;
    memcpy(into, CODECS, sizeof CODECS);
    return *count = 3, SUCCESS;
}
static int capability(void *session, Guid codec, void *which, int *value) {
    return (void)session, (void)codec, (void)which, *value = 8192, SUCCESS;
}
static const char *last_error(void *session) { return (void)session, "refused by the stub"; }

/* Places in NV_ENCODE_API_FUNCTION_LIST, behind its version. */
enum { FUNCTIONS = 41, COUNT = 1, LIST = 4, CAPABILITY = 7, INITIALISE = 11, OPEN = 29, ERROR = 37 };

int NvEncodeAPIGetMaxSupportedVersion(uint32_t *version) { return *version = 99 << 4, SUCCESS; }
int NvEncodeAPICreateInstance(uint32_t *list) {
    void **functions = (void **)(list + 2);
    for (int i = 0; i < FUNCTIONS; i++) functions[i] = (void *)agree;
    functions[COUNT] = (void *)count_codecs;
    functions[LIST] = (void *)list_codecs;
    functions[CAPABILITY] = (void *)capability;
    functions[INITIALISE] = (void *)initialise;
    functions[OPEN] = (void *)open_session;
    functions[ERROR] = (void *)last_error;
    return SUCCESS;
}

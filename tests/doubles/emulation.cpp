// Runs the kernels of kernels.cu on a CPU: the steps of a block's threads one thread after another, block after block.
// Each function takes the grid, the threads of a block, and then what its kernel takes.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

#define EMULATED
#define STEP static inline
using std::fabs;
using std::max;
using std::min;
typedef _Float16 __half;
static __half __float2half_rn(float value) { return (__half)value; }
static float __half2float(__half value) { return (float)value; }
static unsigned atomicAdd(unsigned* target, unsigned value) { unsigned old = *target; *target += value; return old; }
static unsigned atomicExch(unsigned* target, unsigned value) { unsigned old = *target; *target = value; return old; }
static unsigned atomicOr(unsigned* target, unsigned value) { unsigned old = *target; *target |= value; return old; }
static unsigned current_thread, threads;
static unsigned thread_in_block() { return current_thread; }
static unsigned threads_of_block() { return threads; }
static double times(double one, double other) { return one * other; }
static double plus(double one, double other) { return one + other; }
static double minus(double one, double other) { return one - other; }

#include KERNELS

static u64 clock_ns = 1000000;
static u64 now_ns() { return clock_ns += 1000; }

// No order of blocks and threads is promised: with true they run from the last to the first.
static bool backwards;
extern "C" void run_backwards(bool wanted) { backwards = wanted; }
static unsigned at(unsigned turn, unsigned count) { return backwards ? count - 1 - turn : turn; }

extern "C" unsigned answer_bytes(unsigned images) { return offsetof(Answer, counts) + images * sizeof(u32); }
extern "C" unsigned state_bytes(unsigned images) { return offsetof(State, counts) + images * sizeof(u32); }
extern "C" unsigned most_that_are_suppressed() { return FEW; }
extern "C" unsigned candidate_bytes() { return sizeof(Candidate); }

extern "C" bool find_images(unsigned, unsigned, unsigned images, const u8* const* on_host, const u8** on_device) {
    for (unsigned turn = 0; turn < images; ++turn) on_device[at(turn, images)] = on_host[at(turn, images)];
    return true;
}

// Whether nothing was written beyond the shared memory that the launch asked for.
static const u8 UNTOUCHED = 0xA5;
template <typename T>
static bool letterbox(LetterboxPart part, unsigned blocks_x, unsigned blocks_y, T* tensor, State* state) {
    const unsigned bytes = 2 * part.staged;
    std::vector<Chunk> shared(bytes / sizeof(Chunk) + 4);
    u8* memory = (u8*)shared.data();
    memset(memory, UNTOUCHED, shared.size() * sizeof(Chunk));
    for (unsigned y = 0; y < blocks_y; ++y)
        for (unsigned x = 0; x < blocks_x; ++x) {
            part.block_y = at(y, blocks_y);
            part.block_x = at(x, blocks_x);
            state->letterbox_ns[0] = min(state->letterbox_ns[0], now_ns());
            memset(memory, 0xAA, bytes);
            for (unsigned turn = 0; turn < threads; ++turn) current_thread = at(turn, threads), stage_rows(part, memory);
            for (unsigned turn = 0; turn < threads; ++turn)
                current_thread = at(turn, threads), blend_rows(part, memory, tensor);
            state->letterbox_ns[1] = std::max(state->letterbox_ns[1], now_ns());
        }
    for (unsigned byte = bytes; byte < shared.size() * sizeof(Chunk); ++byte)
        if (memory[byte] != UNTOUCHED) return false;
    return true;
}

enum Head { RAW, FINAL };

template <Head HEAD, typename T>
static void filter(FilterPart part, unsigned blocks_x, unsigned images, const T* outputs, const Place* places,
                   State* state, Candidate* lists) {
    const long values = (long)part.anchors * (HEAD == RAW ? 4 + part.classes : 6);
    for (unsigned y = 0; y < images; ++y)
        for (unsigned x = 0; x < blocks_x; ++x) {
            part.image = at(y, images);
            const unsigned block = at(x, blocks_x);
            const T* output = outputs + part.image * values;
            Candidate* list = lists + (long)part.image * part.anchors;
            state->filter_ns = min(state->filter_ns, now_ns());
            for (unsigned turn = 0; turn < threads; ++turn) {
                part.anchor = block * threads + at(turn, threads);
                if (part.anchor >= (u32)part.anchors) continue;
                if (HEAD == RAW) filter_raw(part, output, places[part.image], state, list);
                else filter_final(part, output, places[part.image], state, list);
            }
        }
}

// All threads of a block take a step, one after another.
template <typename Step>
static void all(unsigned count, Step step) {
    for (unsigned turn = 0; turn < count; ++turn) current_thread = at(turn, count), step();
}

extern "C" bool suppress(unsigned images, unsigned, unsigned threads_of_a_block, const Candidate* lists, int anchors,
                         double iou, State* state, Candidate* on_host, Answer* to) {
    threads = threads_of_a_block;
    for (unsigned turn = 0; turn < images; ++turn) {
        const unsigned image = at(turn, images);
        const Candidate* found = lists + (long)image * anchors;
        Candidate* list = on_host + (long)image * anchors;
        Suppression shared;
        memset((void*)&shared, 0xAA, sizeof(shared));
        const u32 count = shared.count = atomicExch(&state->counts[image], 0u);
        if (!is_suppressed(count, iou)) {
            all(threads, [&] { tell_all(found, count, list); });
            to->counts[image] = count;
        } else {
            all(threads, [&] { fetch(found, &shared); });
            all(threads, [&] { compare(&shared, iou); });
            all(threads, [&] { order(&shared); });
            all(threads, [&] { tell(&shared, list, &to->counts[image]); });
        }
        answer(state, to, images, now_ns());
    }
    return threads % FEW == 0;
}

#define LETTERBOX(NAME, T)                                                                                             \
    extern "C" bool NAME(unsigned blocks_x, unsigned blocks_y, unsigned threads_of_a_block, const u8* const* image,    \
                         long pitch, const Tap* columns, const Tap* rows, int width, int block_width, int staged,      \
                         T* tensor, int line, int plane, State* state) {                                               \
        threads = threads_of_a_block;                                                                                  \
        return letterbox<T>({*image, pitch, columns, rows, width, block_width, staged, line, plane, 0, 0}, blocks_x,   \
                            blocks_y, tensor, state);                                                                  \
    }
#define FILTER(NAME, HEAD, T)                                                                                          \
    extern "C" bool NAME(unsigned blocks_x, unsigned blocks_y, unsigned threads_of_a_block, const T* outputs,          \
                         int anchors, int classes, const u8* is_vehicle, const int* vehicles, int vehicle_count,       \
                         float conf, const Place* places, State* state, Candidate* lists) {                            \
        threads = threads_of_a_block;                                                                                  \
        filter<HEAD, T>({anchors, classes, is_vehicle, vehicles, vehicle_count, conf, 0, 0}, blocks_x, blocks_y,       \
                        outputs, places, state, lists);                                                                \
        return true;                                                                                                   \
    }
LETTERBOX(letterbox_float32, float)
LETTERBOX(letterbox_float16, __half)
FILTER(filter_raw_float32, RAW, float)
FILTER(filter_raw_float16, RAW, __half)
FILTER(filter_final_float32, FINAL, float)
FILTER(filter_final_float16, FINAL, __half)

// The kernels around an engine: a camera's picture becomes its input, its output becomes a short list of vehicles.
//
// The headers hold the steps that a block's threads take together; the wrappers here set a barrier between steps. So the
// same source also compiles for a CPU, where a test runs the steps one thread after another.
#ifndef EMULATED
#include <cuda_fp16.h>
#define STEP __device__ __forceinline__
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// Two neighbouring pixels of a line and their weights in 1/2048, as OpenCV's INTER_LINEAR has them for 8 bits.
struct Tap { int first, second, first_weight, second_weight; };
struct alignas(16) Chunk { u32 words[4]; };  // read at once

// Device memory, kept across the kernels of one frame. Before each frame all is zero but the earliest times
// (letterbox_ns[0], filter_ns): those are all ones, later than any.
struct State { u64 letterbox_ns[2], filter_ns; u32 blocks_done, counts[1]; };
// Host memory that the device writes: what one frame, or one batch, took on the device, and how many candidates each
// image has, with SUPPRESSED added where overlaps were suppressed.
struct Answer { u64 letterbox_ns, infer_ns, filter_ns; u32 counts[1]; };
static const u32 SUPPRESSED = 1u << 31;
struct alignas(16) Candidate { float left, top, right, bottom, confidence, class_id; u32 anchor, padding; };
// Where an image lies in the input: pixels of the offset, and input pixels per image pixel.
struct Place { float left, top, scale_x, scale_y; };

STEP void store(float* target, float value) { *target = value; }
STEP void store(__half* target, float value) { *target = __float2half_rn(value); }
STEP float load(const float* source) { return *source; }
STEP float load(const __half* source) { return __half2float(*source); }

#ifndef EMULATED
STEP u64 now_ns() { u64 time; asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time)); return time; }
STEP u32 thread_in_block() { return threadIdx.x; }
STEP u32 threads_of_block() { return blockDim.x; }
// Rounded each by itself: the compiler would join a product and a sum.
STEP double times(double one, double other) { return __dmul_rn(one, other); }
STEP double plus(double one, double other) { return __dadd_rn(one, other); }
STEP double minus(double one, double other) { return __dsub_rn(one, other); }
#endif

#include "letterbox.cuh"
#include "filter.cuh"
#include "suppression.cuh"

// The last of all images tells the host what the frame took, and leaves the state as the next frame wants it.
STEP void answer(State* state, Answer* to, u32 images, u64 now) {
    if (atomicAdd(&state->blocks_done, 1u) + 1 != images) return;
    to->letterbox_ns = state->letterbox_ns[1] > state->letterbox_ns[0] ? state->letterbox_ns[1] - state->letterbox_ns[0] : 0;
    to->infer_ns = state->filter_ns > state->letterbox_ns[1] ? state->filter_ns - state->letterbox_ns[1] : 0;
    to->filter_ns = now > state->filter_ns ? now - state->filter_ns : 0;
    state->blocks_done = 0;
    state->letterbox_ns[0] = state->filter_ns = ~0ull;
    state->letterbox_ns[1] = 0;
}

#ifndef EMULATED
// Brings the addresses of the images over, once for all blocks: reads of one place in host memory wait for one another.
extern "C" __global__ void find_images(const u8* const volatile* on_host, const u8** images) {
    images[threadIdx.x] = on_host[threadIdx.x];
}

template <typename T>
__device__ void letterbox(LetterboxPart part, const u8* const* image, T* tensor, State* state) {
    extern __shared__ uint4 memory[];  // aligned for chunks
    u8* shared = (u8*)memory;
    if (threadIdx.x == 0) atomicMin(&state->letterbox_ns[0], now_ns());
    part.image = *image;
    part.block_x = blockIdx.x;
    part.block_y = blockIdx.y;
    stage_rows(part, shared);
    __syncthreads();
    blend_rows(part, shared, tensor);
    __syncthreads();
    if (threadIdx.x == 0) atomicMax(&state->letterbox_ns[1], now_ns());
}

enum Head { RAW, FINAL };

template <Head HEAD, typename T>
__device__ void filter(FilterPart part, const T* outputs, const Place* places, State* state, Candidate* lists) {
    if (threadIdx.x == 0) atomicMin(&state->filter_ns, now_ns());
    part.image = blockIdx.y;
    part.anchor = blockIdx.x * blockDim.x + threadIdx.x;
    if (part.anchor >= (u32)part.anchors) return;
    const long values = (long)part.anchors * (HEAD == RAW ? 4 + part.classes : 6);
    Candidate* list = lists + (long)part.image * part.anchors;
    if (HEAD == RAW) filter_raw(part, outputs + part.image * values, places[part.image], state, list);
    else filter_final(part, outputs + part.image * values, places[part.image], state, list);
}

// One block for each image, after the filter; its threads are a multiple of FEW. iou below 0: nothing is suppressed.
extern "C" __global__ void suppress(const Candidate* lists, int anchors, double iou, State* state, Candidate* on_host,
                                    Answer* to) {
    __shared__ Suppression shared;
    const Candidate* found = lists + (long)blockIdx.x * anchors;
    Candidate* list = on_host + (long)blockIdx.x * anchors;
    if (threadIdx.x == 0) shared.count = atomicExch(&state->counts[blockIdx.x], 0u);
    __syncthreads();
    const u32 count = shared.count;
    if (!is_suppressed(count, iou)) {
        tell_all(found, count, list);
        if (threadIdx.x == 0) to->counts[blockIdx.x] = count;
    } else {
        fetch(found, &shared);
        __syncthreads();
        compare(&shared, iou);
        __syncthreads();
        order(&shared);
        __syncthreads();
        tell(&shared, list, &to->counts[blockIdx.x]);
    }
    __threadfence_system();  // the list lies in host memory, and must be there before the answer is
    __syncthreads();
    if (threadIdx.x == 0) answer(state, to, gridDim.x, now_ns());
}

#define LETTERBOX(NAME, T)                                                                                             \
    extern "C" __global__ void NAME(const u8* const* image, long pitch, const Tap* columns, const Tap* rows,           \
                                    int width, int block_width, int staged, T* tensor, int line, int plane,           \
                                    State* state) {                                                                    \
        letterbox<T>({nullptr, pitch, columns, rows, width, block_width, staged, line, plane, 0, 0}, image, tensor,    \
                     state);                                                                                           \
    }
#define FILTER(NAME, HEAD, T)                                                                                          \
    extern "C" __global__ void NAME(const T* outputs, int anchors, int classes, const u8* is_vehicle,                  \
                                    const int* vehicles, int vehicle_count, float conf, const Place* places,           \
                                    State* state, Candidate* lists) {                                                  \
        filter<HEAD, T>({anchors, classes, is_vehicle, vehicles, vehicle_count, conf, 0, 0}, outputs, places, state,   \
                        lists);                                                                                        \
    }
LETTERBOX(letterbox_float32, float)
LETTERBOX(letterbox_float16, __half)
FILTER(filter_raw_float32, RAW, float)
FILTER(filter_raw_float16, RAW, __half)
FILTER(filter_final_float32, FINAL, float)
FILTER(filter_final_float16, FINAL, __half)
#endif

// The kernels around an engine: a camera's picture becomes its input, its output becomes a short list of vehicles.
//
// Each is written as steps that a block's threads take together; the wrappers at the end set a barrier between steps.
// So the same source also compiles for a CPU, where a test runs the steps one thread after another.
#ifndef EMULATED
#include <cuda_fp16.h>
#define STEP __device__ __forceinline__
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// Two neighbouring pixels of a line and their weights in 1/2048, as OpenCV's INTER_LINEAR has them for 8 bits.
struct Tap { int first, second, first_weight, second_weight; };
struct Chunk { u32 words[4]; };  // 16 bytes, read at once

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

// ---- Letterbox: bilinear as OpenCV's, BGR to RGB, 0..255 to 0..1, planar. The padding is written once, by the host.

struct LetterboxPart {
    const u8* image;     // (height, width, 3) BGR; 16 readable bytes follow its last one
    long pitch;          // bytes of a row of the image
    const Tap* columns;  // byte offsets in a row, one for each column of the scaled picture
    const Tap* rows;     // row numbers, one for each row of the scaled picture
    int width;           // columns of the scaled picture
    int block_width;     // columns that one block makes
    int staged;          // bytes of shared memory for each of the two rows, a multiple of 16
    int line, plane;     // values from a row of the tensor to the next, and from a channel to the next
    u32 block_x, block_y;
};

STEP const u8* first_byte(const LetterboxPart& part, int row) {
    return part.image + row * part.pitch + part.columns[part.block_x * part.block_width].first;
}

// Reads what this block needs of two rows, each byte once and 16 at a time: the picture may lie beyond a bus.
STEP void stage_rows(const LetterboxPart& part, u8* shared) {
    const Tap rows = part.rows[part.block_y];
    const int last = min((int)(part.block_x + 1) * part.block_width, part.width) - 1;
    const long length = part.columns[last].second + 3 - part.columns[part.block_x * part.block_width].first;
    for (int side = 0; side < 2; ++side) {
        if (side && !rows.second_weight) return;
        const u8* begin = first_byte(part, side ? rows.second : rows.first);
        const long shift = (u64)begin & 15;
        const Chunk* source = (const Chunk*)(begin - shift);
        Chunk* target = (Chunk*)(shared + side * part.staged);
        for (int chunk = thread_in_block(); chunk * 16L < shift + length; chunk += threads_of_block())
            target[chunk] = source[chunk];
    }
}

// The fixed-point arithmetic of OpenCV's resize (HResizeLinear, VResizeLinear for uchar): the rounding is the same.
STEP int blend(const u8* upper, const u8* lower, const Tap& columns, const Tap& rows, int from, int to) {
    const int above = upper[from] * columns.first_weight + upper[to] * columns.second_weight;
    int sum = (rows.first_weight * (above >> 4)) >> 16;
    if (rows.second_weight) {
        const int below = lower[from] * columns.first_weight + lower[to] * columns.second_weight;
        sum += (rows.second_weight * (below >> 4)) >> 16;
    }
    return (sum + 2) >> 2;
}

template <typename T>
STEP void blend_rows(const LetterboxPart& part, const u8* shared, T* tensor) {
    const Tap rows = part.rows[part.block_y];
    const int first = part.block_x * part.block_width;
    const int begin = part.columns[first].first;
    const u8* upper = shared + ((u64)first_byte(part, rows.first) & 15);
    const u8* lower = shared + part.staged + ((u64)first_byte(part, rows.second) & 15);
    for (int column = first + thread_in_block(); column < min(first + part.block_width, part.width);
         column += threads_of_block()) {
        const Tap taps = part.columns[column];
        T* target = tensor + part.block_y * part.line + column;
        for (int channel = 0; channel < 3; ++channel) {
            const int from = taps.first - begin + channel, to = taps.second - begin + channel;
            const int value = blend(upper, lower, taps, rows, from, to);
            store(target + (2 - channel) * part.plane, value / 255.0f);
        }
    }
}

// ---- Filter: of all that an engine puts out, the boxes of vehicle classes above a confidence.

struct FilterPart {
    int anchors, classes;
    const u8* is_vehicle;  // one for each class
    const int* vehicles;   // the ids of the vehicle classes
    int vehicle_count;
    float conf;
    u32 image;             // number in the batch
    u32 anchor;
};

static const int AT_ONCE = 16;  // scores of one box that are read together

STEP bool finite(float value) { return fabsf(value) <= 3.402823466e38f; }

// Beyond 1e6 pixels is no box of any picture (postprocess.FARTHEST_PX); a NaN is not below it either.
STEP bool is_sound(const Candidate& found) {
    return fabsf(found.left) < 1e6f && fabsf(found.top) < 1e6f && fabsf(found.right) < 1e6f &&
           fabsf(found.bottom) < 1e6f && finite(found.confidence);
}

STEP void keep(Candidate found, const Place& place, const FilterPart& part, State* state, Candidate* list) {
    if (!is_sound(found)) return;
    found.left = (found.left - place.left) / place.scale_x;
    found.right = (found.right - place.left) / place.scale_x;
    found.top = (found.top - place.top) / place.scale_y;
    found.bottom = (found.bottom - place.top) / place.scale_y;
    found.anchor = part.anchor;
    found.padding = 0;
    list[atomicAdd(&state->counts[part.image], 1u)] = found;
}

// A raw head: 4 + classes rows of `anchors` values; a box is its centre and size, its class the best of all classes.
template <typename T>
STEP void filter_raw(const FilterPart& part, const T* output, const Place& place, State* state, Candidate* list) {
    const T* column = output + part.anchor;
    bool passes = false;
    for (int index = 0; index < part.vehicle_count; ++index)
        passes |= load(column + (4 + part.vehicles[index]) * (long)part.anchors) > part.conf;
    if (!passes) return;
    int best = 0;
    float confidence = load(column + 4L * part.anchors);
    bool broken = confidence != confidence;
    for (int id = 1; id < part.classes; id += AT_ONCE) {
        float scores[AT_ONCE];
        for (int next = 0; next < AT_ONCE; ++next)  // all on their way before the first is needed
            scores[next] = load(column + (4 + min(id + next, part.classes - 1)) * (long)part.anchors);
        for (int next = 0; next < AT_ONCE; ++next) {
            broken |= scores[next] != scores[next];
            if (scores[next] > confidence) { confidence = scores[next]; best = id + next; }
        }
    }
    if (broken || !part.is_vehicle[best]) return;  // no broken number may become a vehicle
    const float x = load(column), y = load(column + part.anchors);
    const float half_width = load(column + 2L * part.anchors) / 2, half_height = load(column + 3L * part.anchors) / 2;
    const Candidate found = {x - half_width, y - half_height, x + half_width, y + half_height, confidence,
                             (float)best, 0, 0};
    keep(found, place, part, state, list);
}

// An end-to-end head: `anchors` rows of left, top, right, bottom, confidence, class.
template <typename T>
STEP void filter_final(const FilterPart& part, const T* output, const Place& place, State* state, Candidate* list) {
    const T* row = output + part.anchor * 6L;
    const float confidence = load(row + 4), id = load(row + 5);
    if (!(confidence > part.conf) || !(id >= 0 && id < part.classes) || id != (float)(int)id) return;
    if (!part.is_vehicle[(int)id]) return;
    const Candidate found = {load(row), load(row + 1), load(row + 2), load(row + 3), confidence, id, 0, 0};
    keep(found, place, part, state, list);
}

// ---- Suppression: of boxes of one class that overlap the most confident stays. postprocess.nms defines it; each number
// is computed in double precision and rounded by itself, as there, so that both keep the same boxes.

static const u32 FEW = 64;  // so many candidates of an image, as perception/heads.py has it; of more the host does it

struct Suppression {
    Candidate found[FEW];
    double area[FEW];
    u32 rank[FEW];       // how many come before each: more confident ones, of equals those with a lower anchor
    u32 rivals[FEW][2];  // which of these drop it if they stay: a bit for each
    u32 ranked[FEW];     // the candidates by their ranks
    u32 count;
};

STEP bool is_suppressed(u32 count, double iou) { return count <= FEW && iou >= 0; }

STEP void fetch(const Candidate* list, Suppression* shared) {
    const u32 own = thread_in_block();
    if (own >= shared->count) return;
    const Candidate box = shared->found[own] = list[own];
    shared->area[own] = times(minus(box.right, box.left), minus(box.bottom, box.top));
    shared->rank[own] = shared->rivals[own][0] = shared->rivals[own][1] = 0;
}

STEP bool comes_before(const Candidate& one, const Candidate& other) {
    return one.confidence > other.confidence || (one.confidence == other.confidence && one.anchor < other.anchor);
}

STEP bool overlap(const Candidate& one, double area, const Candidate& other, double other_area, double iou) {
    if (one.right <= other.left || other.right <= one.left || one.bottom <= other.top || other.bottom <= one.top)
        return false;
    const double common = times(minus(min(one.right, other.right), max(one.left, other.left)),
                                minus(min(one.bottom, other.bottom), max(one.top, other.top)));
    return common > times(iou, minus(plus(other_area, area), common));
}

// All pairs, shared out among all threads: each has a candidate of its own, and those of a warp the same other one.
STEP void compare(Suppression* shared, double iou) {
    const u32 own = thread_in_block() % FEW;
    if (own >= shared->count) return;
    const Candidate box = shared->found[own];
    const double area = shared->area[own];
    for (u32 index = thread_in_block() / FEW; index < shared->count; index += threads_of_block() / FEW) {
        const Candidate& other = shared->found[index];
        if (!comes_before(other, box)) continue;
        atomicAdd(&shared->rank[own], 1u);
        if (other.class_id == box.class_id && overlap(box, area, other, shared->area[index], iou))
            atomicOr(&shared->rivals[own][index / 32], 1u << index % 32);
    }
}

STEP void order(Suppression* shared) {
    if (thread_in_block() < shared->count) shared->ranked[shared->rank[thread_in_block()]] = thread_in_block();
}

// From the best on, a candidate stays whose rivals are dropped. Each thread finds out by itself, and tells its own.
STEP void tell(const Suppression* shared, Candidate* list, u32* count) {
    const u32 own = thread_in_block();
    if (own >= FEW) return;
    u64 stay = 0;
    u32 staying = 0, place = FEW;
    for (u32 rank = 0; rank < shared->count; ++rank) {
        const u32 index = shared->ranked[rank];
        if ((shared->rivals[index][0] | (u64)shared->rivals[index][1] << 32) & stay) continue;
        if (index == own) place = staying;
        stay |= 1ull << index;
        ++staying;
    }
    if (place < FEW) list[place] = shared->found[own];
    if (own == 0) *count = SUPPRESSED | staying;
}

STEP void tell_all(const Candidate* found, u32 count, Candidate* list) {
    for (u32 index = thread_in_block(); index < count; index += threads_of_block()) list[index] = found[index];
}

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

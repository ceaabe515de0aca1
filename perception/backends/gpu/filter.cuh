// Filter: of all that an engine puts out, the boxes of vehicle classes above a confidence.

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

// Beyond 1e6 pixels is no box of any picture (FARTHEST_PX of perception/core/layouts.py); a NaN is not below it either.
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

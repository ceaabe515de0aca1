// Suppression: of boxes of one class that overlap the most confident stays. perception/core/nms.py defines it; each number
// is computed in double precision and rounded by itself, as there, so that both keep the same boxes.

static const u32 FEW = 64;  // so many candidates of an image, of more the host does it

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

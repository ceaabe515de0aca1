// Letterbox: bilinear as OpenCV's, BGR to RGB, 0..255 to 0..1, planar. The padding is written once, by the host.

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

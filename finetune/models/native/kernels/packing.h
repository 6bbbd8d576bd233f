// Operands of matrix products in the order in which the kernels read them.
//
// A packed operand stands for B of (depth, columns), cut into blocks of 64 columns (the last one of a multiple of 16, filled
// up with zeros). A block holds, for each step of the depth, the values of its columns side by side: one row of float32, or a
// pair of rows of bfloat16 interleaved, which is what the instructions that multiply pairs want. Depths are filled up to even
// ones with zeros.
#pragma once
#include <algorithm>

#include "numbers.h"
#include "stores.h"
#include "transposing.h"

namespace encoder {

constexpr int64_t kBlock = 64;

template <class Stored>
constexpr int64_t kStep = sizeof(float) / sizeof(Stored);  // rows of depth in one word: 1 of float32, 2 of bfloat16

inline int64_t even(int64_t depth) { return round_up(depth, 2); }
inline int64_t block_width(int64_t columns, int64_t first) { return std::min(kBlock, round_up(columns - first, 16)); }
inline int64_t packed_size(int64_t depth, int64_t columns) { return even(depth) * round_up(columns, 16); }

inline uint32_t half_word(float value) { return from_float<bfloat16>(value).bits; }
inline uint32_t half_word(bfloat16 value) { return value.bits; }

// 16 pairs: those of `a` in the low halves of words, those of `b` in the high ones.
template <class Source>
inline void pair_up(const Source* a, const Source* b, uint32_t* words) {
#pragma omp simd
  for (int64_t c = 0; c < 16; c++) words[c] = half_word(a[c]) | half_word(b[c]) << 16;
}
#ifdef __AVX512F__
inline void pair_up(const bfloat16* a, const bfloat16* b, uint32_t* words) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
  _mm512_store_si512(words, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}
#endif

// `count` <= 16 words, at the start of a line, of a pair of rows (a alone in float32); null rows are zero.
template <class Stored, class Source>
inline void word_row(const Source* a, const Source* b, int64_t count, uint32_t* words) {
  if (count == 16 && a && b && sizeof(Stored) == 2) return pair_up(a, b, words);
  for (int64_t c = count; c < 16; c++) words[c] = 0;
  if (a == nullptr) {
    for (int64_t c = 0; c < count; c++) words[c] = 0;
  } else if constexpr (sizeof(Stored) == 4) {
    for (int64_t c = 0; c < count; c++) words[c] = reinterpret<uint32_t>(to_float(a[c]));
  } else if (b == nullptr) {
    for (int64_t c = 0; c < count; c++) words[c] = half_word(a[c]);
  } else {
    for (int64_t c = 0; c < count; c++) words[c] = half_word(a[c]) | half_word(b[c]) << 16;
  }
}

// The words of 16 rows from (row, column): word (i, j) is what stands in row i at depth steps column + j.
template <class Stored, class Source>
inline void words_along_rows(const Source* source, int64_t stride, int64_t rows, int64_t columns, Words& words) {
  for (int64_t i = 0; i < 16; i++) {
    for (int64_t j = 0; j < 16; j++) {
      const int64_t column = j * kStep<Stored>;
      const bool present = i < rows && column < columns;
      if constexpr (sizeof(Stored) == 4) {
        words.at[i].words[j] = present ? reinterpret<uint32_t>(to_float(source[i * stride + column])) : 0;
      } else {
        const uint32_t low = present ? half_word(source[i * stride + column]) : 0;
        const bool second = present && column + 1 < columns;
        const uint32_t high = second ? half_word(source[i * stride + column + 1]) : 0;
        words.at[i].words[j] = low | high << 16;
      }
    }
  }
}

// As above where all 16 rows and all their columns are there: nothing to ask, so it vectorises.
template <class Stored, class Source>
inline void whole_words_along_rows(const Source* source, int64_t stride, Words& words) {
  for (int64_t i = 0; i < 16; i++) {
    const Source* row = source + i * stride;
    if constexpr (sizeof(Stored) == sizeof(Source)) {
      std::memcpy(words.at[i].words, row, 64);
    } else {
      bfloat16 rounded[32];
#pragma omp simd
      for (int64_t c = 0; c < 32; c++) rounded[c] = from_float<bfloat16>(to_float(row[c]));
      std::memcpy(words.at[i].words, rounded, 64);
    }
  }
}

// B = source, of (depth, columns). Blocks lie `block_stride` apart (0: one after the other); `depth` rows are written from
// step `first` of each block on, and their number is filled up to a multiple of `multiple` with zeros. `past`: nobody reads them soon.
template <class Stored, class Source>
void pack(const Source* source, int64_t stride, int64_t depth, int64_t columns, Stored* packed, int64_t total_depth = 0,
          int64_t first = 0, int64_t multiple = 2, bool past = false) {
  past = past && starts_line(packed);  // every row of words then does
  const int64_t filled = round_up(depth, multiple), block_depth = std::max(even(total_depth), even(depth));
  for (int64_t k = 0; k < filled; k += kStep<Stored>) {
    const Source* a = k < depth ? source + k * stride : nullptr;
    const Source* b = k + 1 < depth ? source + (k + 1) * stride : nullptr;
    for (int64_t c = 0; c < columns; c += 16) {
      const int64_t block = c / kBlock * kBlock, width = block_width(columns, block);
      Stored* out = packed + block * block_depth + (first + k) * width + (c - block) * kStep<Stored>;
      Line line;
      word_row<Stored>(a ? a + c : a, b ? b + c : b, std::min<int64_t>(16, columns - c), line.words);
      put_line(line, out, past);
    }
  }
}

// Columns [column, column + 16) of B = source', where `source` holds these rows of (columns, depth).
template <class Stored, class Source>
inline void pack_transposed_rows(const Source* source, int64_t stride, int64_t depth, int64_t columns, int64_t column,
                                 Stored* packed, bool past = false) {
  past = past && starts_line(packed);
  const int64_t step = 16 * kStep<Stored>, block_depth = even(depth);
  const int64_t block = column / kBlock * kBlock, width = block_width(columns, block);
  Words words;
  for (int64_t k = 0; k < depth; k += step) {
    if (column + 16 <= columns && k + step <= depth)
      whole_words_along_rows<Stored>(source + k, stride, words);
    else
      words_along_rows<Stored>(source + k, stride, columns - column, depth - k, words);
    transpose(words);
    const int64_t steps = std::min<int64_t>(16, (block_depth - k) / kStep<Stored>);
    Stored* target = packed + block * block_depth + k * width + (column - block) * kStep<Stored>;
    for (int64_t i = 0; i < steps; i++) put_line(words.at[i], target + i * kStep<Stored> * width, past);
  }
}

// B = source', where source is (columns, depth).
template <class Stored, class Source>
void pack_transposed(const Source* source, int64_t stride, int64_t depth, int64_t columns, Stored* packed) {
  for (int64_t c = 0; c < columns; c += 16) pack_transposed_rows(source + c * stride, stride, depth, columns, c, packed);
}

// target (columns, target_stride) = source', source (rows, columns); columns of the target beyond `rows` up to a multiple of
// `multiple` become zero.
template <class Stored>
void transpose_matrix(const Stored* source, int64_t stride, int64_t rows, int64_t columns, Stored* target,
                      int64_t target_stride, int64_t multiple = 2) {
  const int64_t step = 16 * kStep<Stored>, filled = round_up(rows, multiple);
  Words words;
  for (int64_t r = 0; r < filled; r += step) {
    for (int64_t c = 0; c < columns; c += 16) {
      const int64_t count = std::min<int64_t>(16, columns - c);
      for (int64_t i = 0; i < 16; i++) {
        const int64_t row = r + i * kStep<Stored>;
        const Stored* a = row < rows ? source + row * stride + c : nullptr;
        const Stored* b = row + 1 < rows ? source + (row + 1) * stride + c : nullptr;
        word_row<Stored>(a, b, count, words.at[i].words);
      }
      transpose(words);
      const size_t bytes = size_t(std::min(step, filled - r)) * sizeof(Stored);
      for (int64_t i = 0; i < count; i++) std::memcpy(target + (c + i) * target_stride + r, words.at[i].words, bytes);
    }
  }
}

}  // namespace encoder

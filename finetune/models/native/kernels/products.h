// Matrix products C = A B (+ C), A (rows, depth) as it lies in memory, B one packed block (see packing.h), C float32.
//
// Every element of C is one sum over the depth in ascending order, whatever the rows beside it: results do not depend on how
// rows are grouped into batches, chunks or tiles. On CPUs with AMX the bfloat16 products are oneDNN's, which torch exports.
#pragma once
#include "packing.h"
#ifdef ENCODER_BRGEMM
#include <c10/util/BFloat16.h>
namespace at::native::cpublas {
void brgemm(int64_t M, int64_t N, int64_t K, int64_t ld_a, int64_t ld_b, int64_t ld_c, bool add_C,
            const c10::BFloat16* A, const c10::BFloat16* B, float* C, bool is_vnni);
}
#endif
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace encoder {

// What a product does to C: takes its place, is added to it, or takes its place past the caches (stores.h).
enum class Into { kOver, kOnto, kPast };

#ifdef __AVX512F__
constexpr int kLanes = 16, kTileRows = 8;
#else
constexpr int kLanes = 8, kTileRows = 6;
#endif
typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline bool goes_past(Into into, const float* c, int64_t c_stride) {
  return into == Into::kPast && c_stride % 16 == 0 && starts_line(c);
}
inline void store(float* c, Vector value, bool past) {
#ifdef __AVX512F__
  if (past) return _mm512_stream_ps(c, value);
#endif
  *reinterpret_cast<Vector*>(c) = value;
}

// The left operand A as the tiles read it: `at(row, k)` is where its value, or pair of values along the depth, lies.
template <class Stored>
struct AsRows {  // rows of memory, `stride` apart
  const Stored* start;
  int64_t stride;
  const Stored* at(int64_t row, int64_t k) const { return start + row * stride + k; }
};
template <class Stored>
struct AsColumns {  // the transposed of one packed block (packing.h): a row of A is a column of the block
  const Stored* start;
  int64_t width;
  const Stored* at(int64_t row, int64_t k) const { return start + k * width + row * kStep<Stored>; }
};

// What is needed next, from `next` to `end`, fetched into the cache `bytes` at a time, a multiple of 64.
struct Ahead {
  const char *next = nullptr, *end = nullptr;
  int64_t bytes = 0;

  void fetch() {
    for (const char* stop = std::min(end, next + bytes); next < stop; next += 64) __builtin_prefetch(next, 0, 2);
  }
};
constexpr int64_t kFewSteps = 16;  // of the depth, between two fetches

// A tile of `Rows` rows from `row` on and `Vectors` vectors of columns stays in registers over the whole depth.
template <int Rows, int Vectors, template <class> class Left>
inline void multiply_tile(int64_t depth, Left<float> a, int64_t row, const float* b, int64_t width, float* c,
                          int64_t c_stride, Into into, Ahead&) {
  Vector sum[Rows][Vectors];
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++)
      sum[r][v] = into == Into::kOnto ? *reinterpret_cast<const Vector*>(c + (row + r) * c_stride + v * kLanes) : Vector{};
  for (int64_t k = 0; k < depth; k++) {
    Vector columns[Vectors];
    for (int v = 0; v < Vectors; v++) columns[v] = *reinterpret_cast<const Vector*>(b + k * width + v * kLanes);
    for (int r = 0; r < Rows; r++) {
      const float value = *a.at(row + r, k);
      for (int v = 0; v < Vectors; v++) sum[r][v] += value * columns[v];
    }
  }
  const bool past = goes_past(into, c, c_stride);
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++) store(c + (row + r) * c_stride + v * kLanes, sum[r][v], past);
}

#ifdef __AVX512BF16__
// The same in bfloat16: each instruction multiplies pairs along the depth and adds both products to a float32. Meanwhile the
// cache fetches what comes next, some lines for every few steps: all at once they would hold up the products' own.
template <int Rows, int Vectors, template <class> class Left>
inline void multiply_tile(int64_t depth, Left<bfloat16> a, int64_t row, const bfloat16* b, int64_t width, float* c,
                          int64_t c_stride, Into into, Ahead& ahead) {
  __m512 sum[Rows][Vectors];
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++)
      sum[r][v] = into == Into::kOnto ? _mm512_loadu_ps(c + (row + r) * c_stride + v * 16) : _mm512_setzero_ps();
  const auto step = [&](int64_t k) {
    __m512bh columns[Vectors];
    for (int v = 0; v < Vectors; v++) columns[v] = (__m512bh)_mm512_loadu_si512(b + k * width + v * 32);
    for (int r = 0; r < Rows; r++) {
      int pair;
      std::memcpy(&pair, a.at(row + r, k), sizeof(pair));
      const __m512bh values = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < Vectors; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], values, columns[v]);
    }
  };
  int64_t k = 0;
  for (; k + 2 * kFewSteps <= depth; k += 2 * kFewSteps) {
    ahead.fetch();
    for (int64_t i = 0; i < kFewSteps; i++) step(k + 2 * i);
  }
  for (; k < depth; k += 2) step(k);
  const bool past = goes_past(into, c, c_stride);
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++) store(c + (row + r) * c_stride + v * 16, sum[r][v], past);
}
#endif

// `rows` <= Rows of them: one tile that is as high.
template <int Rows, int Vectors, class Left, class Stored>
inline void multiply_rest(int64_t rows, int64_t depth, Left a, int64_t row, const Stored* b, int64_t width, float* c,
                          int64_t c_stride, Into into, Ahead& ahead) {
  if constexpr (Rows > 0) {
    if (rows == Rows)
      multiply_tile<Rows, Vectors>(depth, a, row, b, width, c, c_stride, into, ahead);
    else
      multiply_rest<Rows - 1, Vectors>(rows, depth, a, row, b, width, c, c_stride, into, ahead);
  }
}

// All rows of one strip of columns: whole tiles, and the last rows in two that are about as high, because low tiles wait for
// their own sums. Meanwhile the cache fetches `next`, the `bytes` of B that are needed next.
template <int Rows, int Vectors, class Left, class Stored>
inline void multiply_strip(int64_t rows, int64_t depth, Left a, const Stored* b, int64_t width, float* c, int64_t c_stride,
                           Into into, const Stored* next = nullptr, int64_t bytes = 0) {
  Ahead ahead;
  if (next) {
    const char* start = reinterpret_cast<const char*>(next);
    const int64_t fetches = std::max<int64_t>(1, depth / (2 * kFewSteps) * (rows / Rows));
    ahead = {start, start + bytes, round_up((bytes + fetches - 1) / fetches, 64)};
  }
  int64_t row = 0;
  for (; rows - row >= 2 * Rows || rows - row == Rows; row += Rows)
    multiply_tile<Rows, Vectors>(depth, a, row, b, width, c, c_stride, into, ahead);
  const int64_t left = rows - row, first = left > Rows ? (left + 1) / 2 : left;
  multiply_rest<Rows, Vectors>(first, depth, a, row, b, width, c, c_stride, into, ahead);
  multiply_rest<Rows, Vectors>(left - first, depth, a, row + first, b, width, c, c_stride, into, ahead);
}

// C (rows, width) of one block; width is a multiple of 16 up to 64. In bfloat16 the depth is even (A and B end in zeros).
template <template <class> class Left>
inline void multiply_left(int64_t rows, int64_t width, int64_t depth, Left<float> a, const float* b, float* c,
                          int64_t c_stride, Into into, const float* = nullptr) {
  int64_t column = 0;
  for (; column + 2 * kLanes <= width; column += 2 * kLanes)
    multiply_strip<kTileRows, 2>(rows, depth, a, b + column, width, c + column, c_stride, into);
  for (; column < width; column += kLanes)
    multiply_strip<kTileRows, 1>(rows, depth, a, b + column, width, c + column, c_stride, into);
}

#ifdef __AVX512BF16__
template <template <class> class Left>
inline void multiply_left(int64_t rows, int64_t width, int64_t depth, Left<bfloat16> a, const bfloat16* b, float* c,
                          int64_t c_stride, Into into, const bfloat16* ahead = nullptr) {
  if (width == 64) return multiply_strip<6, 4>(rows, depth, a, b, width, c, c_stride, into, ahead, depth * 128);
  if (width == 48) return multiply_strip<8, 3>(rows, depth, a, b, width, c, c_stride, into);
  if (width == 32) return multiply_strip<8, 2>(rows, depth, a, b, width, c, c_stride, into);
  multiply_strip<8, 1>(rows, depth, a, b, width, c, c_stride, into);
}
#endif

// oneDNN's products want rows of A in memory; the tiles above read a packed block across as fast.
#ifdef ENCODER_BRGEMM
template <class Stored>
constexpr bool kReadsAcross = sizeof(Stored) == sizeof(float);
#else
template <class Stored>
constexpr bool kReadsAcross = true;
#endif

// A of rows, `a_stride` apart; `ahead` is the block of B that comes next, if any.
template <class Stored>
inline void multiply(int64_t rows, int64_t width, int64_t depth, const Stored* a, int64_t a_stride, const Stored* b, float* c,
                     int64_t c_stride, Into into, const Stored* ahead = nullptr) {
#ifdef ENCODER_BRGEMM
  if constexpr (!kReadsAcross<Stored>) {
    at::native::cpublas::brgemm(rows, width, depth, a_stride, width, c_stride, into == Into::kOnto,
                                reinterpret_cast<const c10::BFloat16*>(a), reinterpret_cast<const c10::BFloat16*>(b), c, true);
    return;
  } else
#endif
    multiply_left(rows, width, depth, AsRows<Stored>{a, a_stride}, b, c, c_stride, into, ahead);
}

// A is the transposed of columns [first, first + rows) of a packed operand of (depth, columns), at most one block of it; without
// `kReadsAcross` it lies there as rows, (columns, depth).
template <class Stored>
inline void multiply_across(int64_t rows, int64_t width, int64_t depth, const Stored* a, int64_t columns, int64_t first,
                            const Stored* b, float* c, int64_t c_stride, Into into, const Stored* ahead = nullptr) {
  if constexpr (kReadsAcross<Stored>)
    multiply_left(rows, width, depth, AsColumns<Stored>{a + first * depth, block_width(columns, first)}, b, c, c_stride, into,
                  ahead);
  else
    multiply(rows, width, depth, a + first * depth, depth, b, c, c_stride, into);
}

// What `multiply_across` reads as A: `source`, (depth, columns), from row `first` of `total_depth` on, filled up to `multiple`.
template <class Stored>
inline void lay_across(const Stored* source, int64_t stride, int64_t depth, int64_t columns, Stored* target,
                       int64_t total_depth, int64_t first, int64_t multiple, bool past = false) {
  if constexpr (kReadsAcross<Stored>)
    pack(source, stride, depth, columns, target, total_depth, first, multiple, past);
  else
    transpose_matrix(source, stride, depth, columns, target + first, total_depth, multiple);
}

// All blocks of a packed operand of (depth, columns): `finish(first column, valid columns, tile)` sees each, (rows, 64).
template <class Stored, class Finish>
inline void multiply_blocks(int64_t rows, int64_t columns, int64_t depth, const Stored* a, int64_t a_stride,
                            const Stored* packed, float* tile, Finish finish) {
  for (int64_t first = 0; first < columns; first += kBlock) {
    const Stored *block = packed + first * even(depth), *next = block + kBlock * even(depth);
    multiply(rows, block_width(columns, first), even(depth), a, a_stride, block, tile, kBlock, Into::kOver,
             first + 2 * kBlock <= columns ? next : nullptr);
    finish(first, std::min(kBlock, columns - first), tile);
  }
}

}  // namespace encoder

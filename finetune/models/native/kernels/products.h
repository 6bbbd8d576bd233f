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
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace encoder {

#ifdef __AVX512F__
constexpr int kLanes = 16, kTileRows = 8;
#else
constexpr int kLanes = 8, kTileRows = 6;
#endif
typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

// A tile of `Rows` rows and `Vectors` vectors of columns stays in registers over the whole depth.
template <int Rows, int Vectors>
inline void multiply_tile(int64_t depth, const float* a, int64_t a_stride, const float* b, int64_t width, float* c,
                          int64_t c_stride, bool add) {
  Vector sum[Rows][Vectors];
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++)
      sum[r][v] = add ? *reinterpret_cast<const Vector*>(c + r * c_stride + v * kLanes) : Vector{};
  for (int64_t k = 0; k < depth; k++) {
    Vector columns[Vectors];
    for (int v = 0; v < Vectors; v++) columns[v] = *reinterpret_cast<const Vector*>(b + k * width + v * kLanes);
    for (int r = 0; r < Rows; r++) {
      const float value = a[r * a_stride + k];
      for (int v = 0; v < Vectors; v++) sum[r][v] += value * columns[v];
    }
  }
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++) *reinterpret_cast<Vector*>(c + r * c_stride + v * kLanes) = sum[r][v];
}

#ifdef __AVX512BF16__
// The same in bfloat16: each instruction multiplies pairs along the depth and adds both products to a float32.
template <int Rows, int Vectors>
inline void multiply_tile(int64_t depth, const bfloat16* a, int64_t a_stride, const bfloat16* b, int64_t width, float* c,
                          int64_t c_stride, bool add) {
  __m512 sum[Rows][Vectors];
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++)
      sum[r][v] = add ? _mm512_loadu_ps(c + r * c_stride + v * 16) : _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k += 2) {
    __m512bh columns[Vectors];
    for (int v = 0; v < Vectors; v++) columns[v] = (__m512bh)_mm512_loadu_si512(b + k * width + v * 32);
    for (int r = 0; r < Rows; r++) {
      int pair;
      std::memcpy(&pair, a + r * a_stride + k, sizeof(pair));
      const __m512bh values = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < Vectors; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], values, columns[v]);
    }
  }
  for (int r = 0; r < Rows; r++)
    for (int v = 0; v < Vectors; v++) _mm512_storeu_ps(c + r * c_stride + v * 16, sum[r][v]);
}
#endif

// All rows of one strip of columns: whole tiles, then the rows that are left.
template <int Rows, int Vectors, class Stored>
inline void multiply_strip(int64_t rows, int64_t depth, const Stored* a, int64_t a_stride, const Stored* b, int64_t width,
                           float* c, int64_t c_stride, bool add) {
  int64_t row = 0;
  for (; row + Rows <= rows; row += Rows)
    multiply_tile<Rows, Vectors>(depth, a + row * a_stride, a_stride, b, width, c + row * c_stride, c_stride, add);
  if constexpr (Rows > 1) {
    if (row < rows)
      multiply_strip<Rows / 2, Vectors>(rows - row, depth, a + row * a_stride, a_stride, b, width, c + row * c_stride,
                                        c_stride, add);
  }
}

// C (rows, width) of one block; width is a multiple of 16 up to 64. In bfloat16 the depth is even (A and B end in zeros).
inline void multiply(int64_t rows, int64_t width, int64_t depth, const float* a, int64_t a_stride, const float* b, float* c,
                     int64_t c_stride, bool add) {
  int64_t column = 0;
  for (; column + 2 * kLanes <= width; column += 2 * kLanes)
    multiply_strip<kTileRows, 2>(rows, depth, a, a_stride, b + column, width, c + column, c_stride, add);
  for (; column < width; column += kLanes)
    multiply_strip<kTileRows, 1>(rows, depth, a, a_stride, b + column, width, c + column, c_stride, add);
}

#if defined(ENCODER_BRGEMM)
inline void multiply(int64_t rows, int64_t width, int64_t depth, const bfloat16* a, int64_t a_stride, const bfloat16* b,
                     float* c, int64_t c_stride, bool add) {
  at::native::cpublas::brgemm(rows, width, depth, a_stride, width, c_stride, add,
                              reinterpret_cast<const c10::BFloat16*>(a), reinterpret_cast<const c10::BFloat16*>(b), c, true);
}
#elif defined(__AVX512BF16__)
inline void multiply(int64_t rows, int64_t width, int64_t depth, const bfloat16* a, int64_t a_stride, const bfloat16* b,
                     float* c, int64_t c_stride, bool add) {
  if (width == 64) return multiply_strip<6, 4>(rows, depth, a, a_stride, b, width, c, c_stride, add);
  if (width == 48) return multiply_strip<8, 3>(rows, depth, a, a_stride, b, width, c, c_stride, add);
  if (width == 32) return multiply_strip<8, 2>(rows, depth, a, a_stride, b, width, c, c_stride, add);
  multiply_strip<8, 1>(rows, depth, a, a_stride, b, width, c, c_stride, add);
}
#endif

// All blocks of a packed operand of (depth, columns): `finish(first column, valid columns, tile)` sees each, (rows, 64).
template <class Stored, class Finish>
inline void multiply_blocks(int64_t rows, int64_t columns, int64_t depth, const Stored* a, int64_t a_stride,
                            const Stored* packed, float* tile, Finish finish) {
  for (int64_t first = 0; first < columns; first += kBlock) {
    multiply(rows, block_width(columns, first), even(depth), a, a_stride, packed + first * even(depth), tile, kBlock, false);
    finish(first, std::min(kBlock, columns - first), tile);
  }
}

}  // namespace encoder

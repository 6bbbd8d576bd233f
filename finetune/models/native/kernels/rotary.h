// Rotary positions: queries and keys are turned by angles that grow with their tokens' positions, so that their products hang
// on distances alone. Su et al., https://arxiv.org/abs/2104.09864.
#pragma once
#include "numbers.h"

namespace encoder {

// Turns `count` vectors of `size` that lie side by side in each of `rows` rows, `stride` apart, in place: with the halves a, b
// of a vector and a row's cosines and sines (rows, 2, size / 2),
//
//   a' = a cos - b sin;   b' = b cos + a sin
//
// `direction` 1; with -1 it is the transposed of that, which is its backward pass.
template <class Stored>
inline void rotate(Stored* start, int64_t stride, int64_t rows, int64_t count, int64_t size, const float* angles,
                   float direction) {
  const int64_t half = size / 2;
  for (int64_t r = 0; r < rows; r++, angles += size) {
    const float *cosine = angles, *sine = angles + half;
    for (Stored *a = start + r * stride, *end = a + count * size; a < end; a += size) {
      Stored* b = a + half;
#pragma omp simd
      for (int64_t c = 0; c < half; c++) {
        const float first = to_float(a[c]), second = to_float(b[c]), turn = direction * sine[c];
        a[c] = from_float<Stored>(first * cosine[c] - second * turn);
        b[c] = from_float<Stored>(second * cosine[c] + first * turn);
      }
    }
  }
}

}  // namespace encoder

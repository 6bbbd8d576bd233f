// Layer normalisation of rows, forward and backward. Ba et al., https://arxiv.org/abs/1607.06450.
#pragma once
#include "dropout.h"
#include "numbers.h"
#include "sums.h"

namespace encoder {

// y = (x - mean) / sqrt(variance + epsilon) * gain + shift, for each of `rows` rows of `width`; mean and 1 / sqrt(...) are
// kept in `statistics`, (rows, 2). `result` in float32 (or null) goes on to residual sums, `stored` into products.
template <class Stored>
inline void normalise(const float* x, int64_t rows, int64_t width, float epsilon, const float* gain, const float* shift,
                      float* statistics, float* result, Stored* stored) {
  for (int64_t r = 0; r < rows; r++, x += width, stored += width) {
    const float mean = sum_of(x, width) / float(width);
    const float inverse = 1.0f / std::sqrt(squares_about(x, width, mean) / float(width) + epsilon);
    statistics[2 * r] = mean;
    statistics[2 * r + 1] = inverse;
    if (result == nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < width; c++)
        stored[c] = from_float<Stored>((x[c] - mean) * inverse * gain[c] + shift[c]);
      continue;
    }
    float* target = result + r * width;
#pragma omp simd
    for (int64_t c = 0; c < width; c++) {
      const float y = (x[c] - mean) * inverse * gain[c] + shift[c];
      target[c] = y;
      stored[c] = from_float<Stored>(y);
    }
  }
}

// Gradients that belong to columns and are summed over rows; each (width,).
struct NormSums {
  float* gain;
  float* shift;
  float* bias;  // of the linear layer whose dropped output was part of x
};

// What a gradient of rows is to the linear layer whose dropped output was part of x: `rows` is dx behind that dropout.
template <class Stored>
struct Dropped {
  Stored* rows;
  DropoutStream stream;
  const int32_t* places;  // of rows, in the dropout stream
};

// Sums over one row: of g = dy gain and of g n, with n = (x - mean) inverse; the row's part of the gain's and shift's gradients.
struct RowSums {
  float gradients, products;
};
inline RowSums sum_row(const float* dy, const float* x, int64_t width, const float* gain, float mean, float inverse,
                       NormSums sums) {
  float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
  for (int64_t c = 0; c < width; c++) {
    const float n = (x[c] - mean) * inverse, g = dy[c] * gain[c];
    sums.gain[c] += dy[c] * n;
    sums.shift[c] += dy[c];
    sum += g;
    product += g * n;
  }
  return {sum, product};
}

// From dy to dx = inverse (g - mean(g) - n mean(g n)), or, with kAdds, `residual` (what goes past the norm) plus that. Beside it
// `dropped`, where asked for.
template <bool kAdds, class Stored>
inline void normalise_backward(const float* dy, const float* x, const float* statistics, int64_t rows, int64_t width,
                               const float* gain, const float* residual, float* dx, NormSums sums, Dropped<Stored> dropped) {
  for (int64_t r = 0; r < rows; r++, dy += width, x += width, dx += width) {
    const float mean = statistics[2 * r], inverse = statistics[2 * r + 1];
    const RowSums own = sum_row(dy, x, width, gain, mean, inverse, sums);
    const float sum = own.gradients / float(width), product = own.products / float(width);
    const float* past = kAdds ? residual + r * width : nullptr;
    if (kAdds && dropped.rows == nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < width; c++)
        dx[c] = past[c] + inverse * (dy[c] * gain[c] - sum - (x[c] - mean) * inverse * product);
      continue;
    }
    const uint32_t place = uint32_t(dropped.places[r]) * uint32_t(width);
    Stored* target = dropped.rows + r * width;
#pragma omp simd
    for (int64_t c = 0; c < width; c++) {
      const float n = (x[c] - mean) * inverse;
      float d = inverse * (dy[c] * gain[c] - sum - n * product);
      if constexpr (kAdds) d += past[c];
      const float kept = dropped.stream.drop(d, place + uint32_t(c));
      dx[c] = d;
      target[c] = from_float<Stored>(kept);
      sums.bias[c] += kept;
    }
  }
}

}  // namespace encoder

// Layer normalisation of rows, forward and backward. Ba et al., https://arxiv.org/abs/1607.06450.
#pragma once
#include "dropout.h"
#include "numbers.h"
#include "sums.h"

namespace encoder {

// y = (x - mean) / sqrt(variance + epsilon) * gain + shift, for each of `rows` rows of `width`; mean and 1 / sqrt(...) are
// kept in `statistics`, (rows, 2). `result` in float32 goes on to residual sums, `stored` into products.
template <class Stored>
inline void normalise(const float* x, int64_t rows, int64_t width, float epsilon, const float* gain, const float* shift,
                      float* statistics, float* result, Stored* stored) {
  for (int64_t r = 0; r < rows; r++, x += width, result += width, stored += width) {
    const float mean = sum_of(x, width) / float(width);
    const float inverse = 1.0f / std::sqrt(squares_about(x, width, mean) / float(width) + epsilon);
    statistics[2 * r] = mean;
    statistics[2 * r + 1] = inverse;
#pragma omp simd
    for (int64_t c = 0; c < width; c++) {
      const float y = (x[c] - mean) * inverse * gain[c] + shift[c];
      result[c] = y;
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

// From dy to dx = inverse (g - mean(g) - n mean(g n)) with g = dy gain and n = (x - mean) inverse. Beside it, `dropped` is
// dx behind the dropout of the linear layer's output, as `Stored`. `places` is the first row's place in the dropout stream.
template <class Stored>
inline void normalise_backward(const float* dy, const float* x, const float* statistics, int64_t rows, int64_t width,
                               const float* gain, float* dx, Stored* dropped, NormSums sums, DropoutStream stream,
                               const int32_t* places) {
  for (int64_t r = 0; r < rows; r++, dy += width, x += width, dx += width, dropped += width) {
    const float mean = statistics[2 * r], inverse = statistics[2 * r + 1];
    float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t c = 0; c < width; c++) {
      const float n = (x[c] - mean) * inverse, g = dy[c] * gain[c];
      sums.gain[c] += dy[c] * n;
      sums.shift[c] += dy[c];
      sum += g;
      product += g * n;
    }
    sum /= float(width);
    product /= float(width);
    const uint32_t place = uint32_t(places[r]) * uint32_t(width);
#pragma omp simd
    for (int64_t c = 0; c < width; c++) {
      const float n = (x[c] - mean) * inverse;
      const float d = inverse * (dy[c] * gain[c] - sum - n * product);
      const float kept = stream.drop(d, place + uint32_t(c));
      dx[c] = d;
      dropped[c] = from_float<Stored>(kept);
      sums.bias[c] += kept;
    }
  }
}

}  // namespace encoder

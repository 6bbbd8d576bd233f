// Sums and maxima over rows of float32: whole vectors, then their lanes in pairs. A row's result depends on its length
// alone.
#pragma once
#include <algorithm>
#include <cstdint>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace encoder {

#ifdef __AVX512F__
inline __mmask16 lanes_left(int64_t count) { return count >= 16 ? 0xffff : __mmask16((1u << count) - 1); }

inline float sum_of(const float* x, int64_t count) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t c = 0; c < count; c += 16) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes_left(count - c), x + c));
  return _mm512_reduce_add_ps(sum);
}

inline float dot_of(const float* x, const float* y, int64_t count) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t c = 0; c < count; c += 16) {
    const __mmask16 there = lanes_left(count - c);
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(there, x + c), _mm512_maskz_loadu_ps(there, y + c), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// The sum of (x - centre)^2.
inline float squares_about(const float* x, int64_t count, float centre) {
  const __m512 middle = _mm512_set1_ps(centre);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t c = 0; c < count; c += 16) {
    const __mmask16 there = lanes_left(count - c);
    const __m512 distance = _mm512_maskz_sub_ps(there, _mm512_maskz_loadu_ps(there, x + c), middle);
    sum = _mm512_fmadd_ps(distance, distance, sum);
  }
  return _mm512_reduce_add_ps(sum);
}

inline float highest_of(const float* x, int64_t count) {
  const __m512 first = _mm512_set1_ps(x[0]);
  __m512 highest = first;
  for (int64_t c = 0; c < count; c += 16)
    highest = _mm512_max_ps(highest, _mm512_mask_loadu_ps(first, lanes_left(count - c), x + c));
  return _mm512_reduce_max_ps(highest);
}
#else
inline float sum_of(const float* x, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; c++) sum += x[c];
  return sum;
}

inline float dot_of(const float* x, const float* y, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; c++) sum += x[c] * y[c];
  return sum;
}

// The sum of (x - centre)^2.
inline float squares_about(const float* x, int64_t count, float centre) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; c++) sum += (x[c] - centre) * (x[c] - centre);
  return sum;
}

inline float highest_of(const float* x, int64_t count) {
  float highest = x[0];
#pragma omp simd reduction(max : highest)
  for (int64_t c = 0; c < count; c++) highest = x[c] > highest ? x[c] : highest;
  return highest;
}
#endif

}  // namespace encoder

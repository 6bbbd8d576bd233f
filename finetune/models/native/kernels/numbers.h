// Numbers: bfloat16 and float32 storage, and the functions that epilogues need, written so that compilers vectorise them.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace encoder {

struct bfloat16 {
  uint16_t bits;
};

template <class To, class From>
inline To reinterpret(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

inline float to_float(float value) { return value; }
inline float to_float(bfloat16 value) { return reinterpret<float>(uint32_t(value.bits) << 16); }

template <class Stored>
Stored from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
// Rounds to the nearest, ties to even, as torch does; what is not a number stays so.
template <>
inline bfloat16 from_float<bfloat16>(float value) {
  const uint32_t bits = reinterpret<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return {uint16_t(value == value ? rounded : 0x7fc0u)};
}

inline int64_t round_up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

// exp(x) to 2 ulp for x <= 88; below -87 the result is that of -87 (1e-38). Cephes' polynomial after Cody-Waite reduction.
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // the integer part lies in the low bits
  const float whole = shifted - 12582912.0f;
  float rest = x - whole * 0.693359375f;
  rest = rest + whole * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * rest + 1.3981999507e-3f;
  y = y * rest + 8.3334519073e-3f;
  y = y * rest + 4.1665795894e-2f;
  y = y * rest + 1.6666665459e-1f;
  y = y * rest + 5.0000001201e-1f;
  y = y * rest * rest + rest + 1.0f;
  const uint32_t exponent = (reinterpret<uint32_t>(shifted) + 127u) << 23;
  return y * reinterpret<float>(exponent);
}

// Phi(x), the normal distribution function, to 1e-7, and exp(-x^2 / 2), which its derivative needs.
// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
struct Normal {
  float below;
  float bell;
};
inline Normal normal(float x) {
  const float bell = fast_exp(x * x * -0.5f);
  const float t = 1.0f / (std::fabs(x) * (0.3275911f * 0.70710678f) + 1.0f);
  float y = 1.061405429f;
  y = y * t - 1.453152027f;
  y = y * t + 1.421413741f;
  y = y * t - 0.284496736f;
  y = y * t + 0.254829592f;
  const float tail = y * t * bell * 0.5f;
  return {x < 0.0f ? tail : 1.0f - tail, bell};
}

// GELU(x) = x Phi(x) and its derivative Phi(x) + x phi(x). Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415.
inline float gelu(float x) { return x * normal(x).below; }
struct Activated {
  float value, slope;
};
inline Activated gelu_with_slope(float x) {
  const Normal n = normal(x);
  return {x * n.below, n.below + x * 0.39894228f * n.bell};
}

}  // namespace encoder

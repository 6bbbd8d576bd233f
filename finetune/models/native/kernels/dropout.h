// Dropout masks from a counter: whether an element is kept is a hash of its place, so masks are never stored, are the same
// for any number of threads, and the backward pass draws them again. Dropped with p rounded to 2^-32.
// The mixer is "lowbias32" (Wellons, https://nullprogram.com/blog/2018/07/31/).
#pragma once
#include <cstdint>

namespace encoder {

inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// One stream of masks: a place in the network (layer, site) of one forward call.
struct DropoutStream {
  uint32_t key = 0;
  uint32_t threshold = 0;  // 0 keeps everything
  float scale = 1.0f;      // 1 / (1 - p)

  // What remains of `value` at `place`.
  inline float drop(float value, uint32_t place) const {
    const uint32_t random = mix(place * 0x9E3779B9u + key);
    return random >= threshold ? value * scale : 0.0f;
  }
  bool active() const { return threshold != 0; }
  // The stream of one part (a head of a sentence), independent of those of the others.
  DropoutStream part(uint32_t number) const { return {mix(key + mix(number + 1)), threshold, scale}; }
};

enum Site : uint32_t { kAttention = 1, kProjected = 2, kFedForward = 3 };

inline DropoutStream make_stream(uint64_t seed, int64_t layer, Site site, double p) {
  const uint32_t key = mix(uint32_t(seed) + mix(uint32_t(seed >> 32) + mix(uint32_t(layer) * 8u + site)));
  const double threshold = p * 4294967296.0 + 0.5;
  return {key, uint32_t(threshold > 4294967295.0 ? 4294967295.0 : threshold), float(1.0 / (1.0 - p))};
}

}  // namespace encoder

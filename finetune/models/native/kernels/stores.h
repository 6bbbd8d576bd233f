// Stores of what nobody reads soon, past the caches: one that goes through a cache has to read the line first.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace encoder {

struct alignas(64) Line {
  uint32_t words[16];
};

#ifdef __AVX512F__
constexpr bool kStoresPast = true;
inline void put_line(const Line& line, void* target, bool past) {
  const __m512i words = _mm512_load_si512(line.words);
  past ? _mm512_stream_si512(static_cast<__m512i*>(target), words) : _mm512_storeu_si512(target, words);
}
// Makes what went past the caches seen by other threads.
inline void finish_stores() { _mm_sfence(); }
#else
constexpr bool kStoresPast = false;
inline void put_line(const Line& line, void* target, bool) { std::memcpy(target, line.words, 64); }
inline void finish_stores() {}
#endif

// Whole lines alone can go past.
inline bool starts_line(const void* target) { return kStoresPast && reinterpret_cast<uintptr_t>(target) % 64 == 0; }

}  // namespace encoder

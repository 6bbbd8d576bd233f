// 16 x 16 words of 32 bits turned around: what all packing is made of (a word is one float32, or two bfloat16 of a pair).
#pragma once
#include <cstdint>
#include <utility>

#include "stores.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace encoder {

struct Words {
  Line at[16];
};

#ifdef __AVX512F__
// Two rounds inside lanes of 128 bits (words, then pairs of words), two that exchange lanes.
inline void transpose(Words& words) {
  __m512i r[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_load_si512(words.at[i].words);
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int c = 0; c < 4; c++) {
    t[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    t[8 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
  }
  for (int c = 0; c < 4; c++) {
    _mm512_store_si512(words.at[c].words, _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88));
    _mm512_store_si512(words.at[8 + c].words, _mm512_shuffle_i32x4(t[c], t[8 + c], 0xdd));
    _mm512_store_si512(words.at[4 + c].words, _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88));
    _mm512_store_si512(words.at[12 + c].words, _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xdd));
  }
}
#else
inline void transpose(Words& words) {
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < i; j++) std::swap(words.at[i].words[j], words.at[j].words[i]);
}
#endif

}  // namespace encoder

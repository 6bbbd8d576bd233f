// A layer whose norms follow its sublayers, as BERT has it (Devlin et al., https://arxiv.org/abs/1810.04805), for one chunk of
// sentences:
//
//   x1 = norm(h + drop(attention(h) Wo' + bo));  y = norm(x1 + drop(gelu(x1 Wi' + bi) Wf' + bf))
#pragma once
#include "layer.h"

namespace encoder {

// kept.active (rows, wide) = gelu(kept.attended W' + bias), and kept.widened its slopes there where something goes backward.
template <class Stored>
inline void activate(const Layer<Stored>& layer, const Kept<Stored>& kept, bool keep, int64_t rows, float* tile) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide;
  const float* bias = layer.bias(kWiden);
  multiply_blocks(rows, wide, hidden, kept.attended, hidden, layer.forward_weight(kWiden), tile,
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++) {
                      const float* row = product + r * kBlock;
                      Stored *slopes = kept.widened + r * wide + first, *after = kept.active + r * wide + first;
                      if (keep) {
#pragma omp simd
                        for (int64_t c = 0; c < count; c++) {
                          const Activated value = gelu_with_slope(row[c] + bias[first + c]);
                          slopes[c] = from_float<Stored>(value.slope);
                          after[c] = from_float<Stored>(value.value);
                        }
                      } else {
#pragma omp simd
                        for (int64_t c = 0; c < count; c++) after[c] = from_float<Stored>(gelu(row[c] + bias[first + c]));
                      }
                    }
                  });
}

// stream (rows, hidden) float32 holds the layer's input and becomes its output; `next` (rows, hidden) is its copy for the next
// layer. In the last layer both hold the rows that are read alone.
template <class Stored>
void run_post_norm(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, bool keep, float* stream,
                   Stored* next, ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden;
  const float epsilon = float(layer.shape.epsilon);
  float* tile = buffers.tile.data();
  attend_chunk(layer, chunk, kept, keep, tile, attention);
  const Onward<Stored> onward = go_on(layer, chunk, kept, stream, buffers);
  const int64_t rows = onward.rows;
  const float* const* p = layer.parameters;
  add_linear(layer, kProjection, layer.stream(kProjected), onward.context, rows, onward.places, onward.residual,
             kept.middle_sum, tile);
  normalise(kept.middle_sum, rows, hidden, epsilon, p[kMiddleGain], layer.shift(kMiddleShift), kept.middle_stats,
            buffers.sums.data(), kept.attended);
  activate(layer, kept, keep, rows, tile);
  add_linear(layer, kNarrow, layer.stream(kFedForward), kept.active, rows, onward.places, buffers.sums.data(),
             kept.outer_sum, tile);
  normalise(kept.outer_sum, rows, hidden, epsilon, p[kOuterGain], layer.shift(kOuterShift), kept.outer_stats, stream, next);
}

}  // namespace encoder

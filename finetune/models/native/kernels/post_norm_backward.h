// The backward pass of post_norm.h.
#pragma once
#include "layer_backward.h"

namespace encoder {

// given (rows, hidden) of the layer's output -> buffers.sums, gradient of the norm after attention.
template <class Stored>
inline void feed_backward(const Layer<Stored>& layer, const Kept<Stored>& kept, const float* given, int64_t rows,
                          const int32_t* places, BiasSums sums, ChunkBuffers<Stored>& buffers) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide;
  float* tile = buffers.tile.data();
  Stored *narrow = buffers.narrow.data(), *gradient = buffers.wide.data();
  normalise_backward<false>(given, kept.outer_sum, kept.outer_stats, rows, hidden, layer.parameters[kOuterGain], nullptr,
                            buffers.residual.data(), {sums.norm(kOuterGain), sums.norm(kOuterShift), sums.bias(kNarrow)},
                            Dropped<Stored>{narrow, layer.stream(kFedForward), places});
  float* bias = sums.bias(kWiden);
  multiply_blocks(rows, wide, hidden, narrow, hidden, layer.backward_weight(kNarrow), tile,
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++) {
                      const Stored* slopes = kept.widened + r * wide + first;
                      Stored* after = gradient + r * wide + first;
#pragma omp simd
                      for (int64_t c = 0; c < count; c++) {
                        const float value = product[r * kBlock + c] * to_float(slopes[c]);
                        after[c] = from_float<Stored>(value);
                        bias[first + c] += value;
                      }
                    }
                  });
  add_products(layer, kWiden, 1, gradient, wide, rows, buffers.residual.data(), buffers.sums.data(), tile);
}

// gradient (rows of the chunk, hidden) holds that of the layer's output and becomes that of its input.
template <class Stored>
void run_post_norm_backward(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, float* gradient,
                            BiasSums sums, ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden, rows = layer.last() ? chunk.reads : chunk.rows;
  const int32_t* places = layer.plan.after(chunk, layer.last());
  feed_backward(layer, kept, take_given(layer, chunk, gradient, buffers), rows, places, sums, buffers);
  normalise_backward<false>(buffers.sums.data(), kept.middle_sum, kept.middle_stats, rows, hidden,
                            layer.parameters[kMiddleGain], nullptr, buffers.residual.data(),
                            {sums.norm(kMiddleGain), sums.norm(kMiddleShift), sums.bias(kProjection)},
                            Dropped<Stored>{buffers.selected.data(), layer.stream(kProjected), places});
  const float* residual = leave_attention(layer, chunk, kept, sums, buffers, attention);
  add_products(layer, kQuery, 3, buffers.joined.data(), 3 * hidden, chunk.rows, residual, gradient, buffers.tile.data());
}

}  // namespace encoder

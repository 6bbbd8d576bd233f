// The backward pass of pre_norm.h.
#pragma once
#include "layer_backward.h"

namespace encoder {

// given (rows, hidden) of the layer's output -> buffers.narrow, the same as `Stored`, and buffers.wide, (rows, 2 wide), those of
// what stands before the activation and of the gate.
template <class Stored>
inline void feed_gated_backward(const Layer<Stored>& layer, const Kept<Stored>& kept, const float* given, int64_t rows,
                                const int32_t* places, BiasSums sums, ChunkBuffers<Stored>& buffers) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide;
  Stored *narrow = buffers.narrow.data(), *gradient = buffers.wide.data();
  float *narrow_bias = sums.bias(kNarrow), *bias = sums.bias(kWiden), *gate_bias = sums.bias(kGate);
  for (int64_t r = 0; r < rows; r++) {
    const int64_t at = r * hidden;
#pragma omp simd
    for (int64_t c = 0; c < hidden; c++) {
      narrow[at + c] = from_float<Stored>(given[at + c]);
      narrow_bias[c] += given[at + c];
    }
  }
  const DropoutStream stream = layer.stream(kFedForward);
  multiply_blocks(rows, wide, hidden, narrow, hidden, layer.backward_weight(kNarrow), buffers.tile.data(),
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++) {
                      const Stored* before = kept.widened + r * 2 * wide + first;
                      Stored* after = gradient + r * 2 * wide + first;
                      const uint32_t place = uint32_t(places[r]) * uint32_t(wide) + uint32_t(first);
#pragma omp simd
                      for (int64_t c = 0; c < count; c++) {
                        const float value = to_float(before[c]), gate = to_float(before[wide + c]);
                        const float kept_part = stream.drop(product[r * kBlock + c], place + uint32_t(c));
                        const Activated active = gelu_with_slope(value);
                        const float to_value = kept_part * gate * active.slope, to_gate = kept_part * active.value;
                        after[c] = from_float<Stored>(to_value);
                        after[wide + c] = from_float<Stored>(to_gate);
                        bias[first + c] += to_value;
                        gate_bias[first + c] += to_gate;
                      }
                    }
                  });
}

// gradient (rows of the chunk, hidden) holds that of the layer's output and becomes that of its input.
template <class Stored>
void run_pre_norm_backward(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, float* gradient,
                           BiasSums sums, ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden, rows = layer.last() ? chunk.reads : chunk.rows;
  const int32_t* places = layer.plan.after(chunk, layer.last());
  const float *given = take_given(layer, chunk, gradient, buffers), *gain = layer.parameters[kOuterGain];
  float *sum = buffers.sums.data(), *tile = buffers.tile.data();
  feed_gated_backward(layer, kept, given, rows, places, sums, buffers);
  add_products(layer, kWiden, 2, buffers.wide.data(), layer.shape.widened(), rows, nullptr, sum, tile);
  normalise_backward<true>(sum, kept.middle_sum, kept.middle_stats, rows, hidden, layer.parameters[kMiddleGain], given,
                           buffers.residual.data(),
                           {sums.norm(kMiddleGain), sums.norm(kMiddleShift), sums.bias(kProjection)},
                           Dropped<Stored>{buffers.selected.data(), layer.stream(kProjected), places});
  const float* residual = leave_attention(layer, chunk, kept, sums, buffers, attention);
  const bool norm = gain != nullptr;
  add_products(layer, kQuery, 3, buffers.joined.data(), 3 * hidden, chunk.rows, norm ? nullptr : residual,
               norm ? sum : gradient, tile);
  if (norm)
    normalise_backward<true>(sum, kept.outer_sum, kept.outer_stats, chunk.rows, hidden, gain, residual, gradient,
                             {sums.norm(kOuterGain), sums.norm(kOuterShift), nullptr}, Dropped<Stored>{});
}

}  // namespace encoder

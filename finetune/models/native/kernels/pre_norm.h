// A layer whose norms stand before its sublayers, with a gate in the feed-forward network, as ModernBERT has it (Warner et al.,
// https://arxiv.org/abs/2412.13663; GeGLU: Shazeer, https://arxiv.org/abs/2002.05202), for one chunk of sentences:
//
//   x1 = h + drop(attention(norm(h)) Wo' + bo);  n = norm(x1);
//   y = x1 + drop(gelu(n Wi' + bi) (n Wg' + bg)) Wf' + bf
//
// Without an outer norm (the first layer) the attention reads h itself.
#pragma once
#include "layer.h"

namespace encoder {

// stream (rows, hidden), the layer's input -> kept.input.
template <class Stored>
inline void enter_attention(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, bool keep,
                            const float* stream) {
  const int64_t hidden = layer.shape.hidden, size = chunk.rows * hidden;
  const float* gain = layer.parameters[kOuterGain];
  if (gain == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < size; i++) kept.input[i] = from_float<Stored>(stream[i]);
    return;
  }
  if (keep) std::memcpy(kept.outer_sum, stream, size_t(size) * sizeof(float));
  normalise(stream, chunk.rows, hidden, float(layer.shape.epsilon), gain, layer.shift(kOuterShift), kept.outer_stats, nullptr,
            kept.input);
}

// kept.attended (rows, hidden) -> kept.widened, (rows, 2 wide) before the activation and of the gate, and kept.active.
template <class Stored>
inline void widen_gated(const Layer<Stored>& layer, const Kept<Stored>& kept, int64_t rows, const int32_t* places,
                        float* tile) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide, depth = even(hidden);
  const Stored *widen = layer.forward_weight(kWiden), *gate = layer.forward_weight(kGate);
  const float *widen_bias = layer.bias(kWiden), *gate_bias = layer.bias(kGate);
  const DropoutStream stream = layer.stream(kFedForward);
  float* gates = tile + rows * kBlock;
  for (int64_t first = 0; first < wide; first += kBlock) {
    const int64_t width = block_width(wide, first), count = std::min(kBlock, wide - first), next = first + kBlock;
    multiply(rows, width, depth, kept.attended, hidden, widen + first * depth, tile, kBlock, Into::kOver,
             next <= wide ? gate + first * depth : nullptr);
    multiply(rows, width, depth, kept.attended, hidden, gate + first * depth, gates, kBlock, Into::kOver,
             next + kBlock <= wide ? widen + next * depth : nullptr);
    for (int64_t r = 0; r < rows; r++) {
      float* products = tile + r * kBlock;
      const float* gate_products = gates + r * kBlock;
      const uint32_t place = uint32_t(places[r]) * uint32_t(wide) + uint32_t(first);
      Stored *before = kept.widened + r * 2 * wide + first, *after = kept.active + r * wide + first;
#pragma omp simd
      for (int64_t c = 0; c < count; c++) {
        const float value = products[c] + widen_bias[first + c], gated = gate_products[c] + gate_bias[first + c];
        before[c] = from_float<Stored>(value);
        before[wide + c] = from_float<Stored>(gated);
        products[c] = gelu(value) * gated;
      }
      if (stream.active()) {
#pragma omp simd
        for (int64_t c = 0; c < count; c++) products[c] = stream.drop(products[c], place + uint32_t(c));
      }
#pragma omp simd
      for (int64_t c = 0; c < count; c++) after[c] = from_float<Stored>(products[c]);
    }
  }
}

// stream (rows, hidden) float32 holds the layer's input and becomes its output, in the last layer of the rows that are read alone.
template <class Stored>
void run_pre_norm(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, bool keep, float* stream,
                  ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention) {
  float* tile = buffers.tile.data();
  enter_attention(layer, chunk, kept, keep, stream);
  attend_chunk(layer, chunk, kept, keep, tile, attention);
  const Onward<Stored> onward = go_on(layer, chunk, kept, stream, buffers);
  add_linear(layer, kProjection, layer.stream(kProjected), onward.context, onward.rows, onward.places, onward.residual,
             kept.middle_sum, tile);
  normalise(kept.middle_sum, onward.rows, layer.shape.hidden, float(layer.shape.epsilon), layer.parameters[kMiddleGain],
            layer.shift(kMiddleShift), kept.middle_stats, nullptr, kept.attended);
  widen_gated(layer, kept, onward.rows, onward.places, tile);
  add_linear(layer, kNarrow, DropoutStream(), kept.active, onward.rows, onward.places, kept.middle_sum, stream, tile);
}

}  // namespace encoder

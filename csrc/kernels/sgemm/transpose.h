// Transposition. Included once per instruction set, inside its namespace; AVX2 serves all of them.

// Eight rows of eight numbers become columns.
INLINE void TransposeSquare(const float* from, int64_t from_row, float* to, int64_t to_row) {
  __m256 row[8], half[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) row[i] = _mm256_loadu_ps(from + i * from_row);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    half[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
    half[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    row[i] = _mm256_shuffle_ps(half[i], half[i + 2], 0x44);
    row[i + 1] = _mm256_shuffle_ps(half[i], half[i + 2], 0xEE);
    row[i + 2] = _mm256_shuffle_ps(half[i + 1], half[i + 3], 0x44);
    row[i + 3] = _mm256_shuffle_ps(half[i + 1], half[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * to_row, _mm256_permute2f128_ps(row[i], row[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * to_row, _mm256_permute2f128_ps(row[i], row[i + 4], 0x31));
  }
}

void Transpose(const float* from, int64_t from_row, float* to, int64_t to_row, int64_t rows, int64_t columns) {
  constexpr int64_t kSquare = 8, kLine = 16;  // of a line of the cache, all is written at once
  const int64_t whole_rows = rows / kSquare * kSquare, whole_columns = columns / kSquare * kSquare;
  for (int64_t first = 0; first < whole_rows; first += kLine) {
    const int64_t end = std::min(first + kLine, whole_rows);
    for (int64_t column = 0; column < whole_columns; column += kSquare)
      for (int64_t row = first; row < end; row += kSquare)
        TransposeSquare(from + row * from_row + column, from_row, to + column * to_row + row, to_row);
  }
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; ++column)
      to[column * to_row + row] = from[row * from_row + column];
}

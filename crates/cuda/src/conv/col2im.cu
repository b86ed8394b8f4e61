// Columns of image patches added back into an image. The generated header names the element type T and the type A of sums.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    // Over the image.
    Windows windows;
    i64 planes;
    const T* columns;
    T* y;
};

extern "C" __global__ void gather(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 plane = p.windows.inputs(), positions = p.windows.outputs();
    const i64 taps = p.windows.kernel[0] * p.windows.kernel[1] * p.windows.kernel[2];
    each(p.planes * plane, [&](i64 at) {
        const T* columns = p.columns + at / plane * taps * positions;
        A sum = 0;
        p.windows.each_over(at % plane, [&](i64 window, i64 tap) { sum += A(Element<T>::load(columns[tap * positions + window])); });
        p.y[at] = of_float<T>(sum);
    });
}

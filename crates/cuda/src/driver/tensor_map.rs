//! Tensor maps: how the copy engine of compute capability 9.0 finds tiles of a tensor in global memory.
//!
//! A map is sixteen words of a kernel's parameters, at an offset that is a multiple of 64 bytes. [`TensorMap::check`] states
//! the conditions of the driver (CUDA Driver API, Tensor Map Object Management), so that a kernel can ask before a launch
//! whether a tensor has a map, and a machine without a driver can test it.

use cudarc::driver::sys;
use sinter_base::DataType;
use sinter_base::view::element_bytes;
use smallvec::SmallVec;

use crate::driver::error::{DriverError, check};
use crate::driver::library;

/// Axes of a map at most.
const MOST_AXES: usize = 5;
/// Elements of a tile along one axis at most.
const MOST_TILE: u32 = 256;
/// Pixels of a tile of windows at most.
const MOST_PIXELS: u32 = 1024;
/// Bytes that the engine copies at once: addresses, strides and rows of tiles are multiples.
const UNIT: u64 = 16;
/// Elements between neighbours in memory of a tile along one axis at most.
const MOST_STEP: u32 = 8;

/// An encoded map.
pub type Words = [u64; 16];

/// How rows of a tile lie in shared memory: chunks of 16 bytes are exchanged within groups of eight rows, so that neither
/// rows nor columns of chunks meet in one bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swizzle {
    /// Rows of 32 bytes.
    Bytes32,
    /// Rows of 64 bytes.
    Bytes64,
    /// Rows of 128 bytes.
    Bytes128,
}

impl Swizzle {
    /// Bytes of a row of a tile at most.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes32 => 32,
            Self::Bytes64 => 64,
            Self::Bytes128 => 128,
        }
    }
}

/// What one copy brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tile {
    /// A box of these sizes, innermost first.
    Box(SmallVec<[u32; MOST_AXES]>),
    /// Pixels in the order of the output of a convolution, for one position of its window; the axes are channels, spatial
    /// ones from the innermost, and images.
    Windows {
        /// First pixel of the first window by spatial axis, from the innermost.
        lower: SmallVec<[i32; 3]>,
        /// First pixel of the last window, from the last pixel of the axis.
        upper: SmallVec<[i32; 3]>,
        /// Strides of the windows.
        strides: SmallVec<[u32; 3]>,
        /// Channels of a tile.
        channels: u32,
        /// Pixels of a tile.
        pixels: u32,
    },
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Type of the elements.
    pub data_type: DataType,
    /// Address of the first element.
    pub address: u64,
    /// Elements by axis, innermost first.
    pub sizes: SmallVec<[u64; MOST_AXES]>,
    /// Bytes from one position to the next, of all axes but the innermost.
    pub strides: SmallVec<[u64; MOST_AXES]>,
    /// What one copy brings.
    pub tile: Tile,
    /// How it lies in shared memory.
    pub swizzle: Swizzle,
}

fn refused(reason: String) -> DriverError {
    DriverError::Failed { call: "cuTensorMapEncode", reason }
}

fn driver_type(data_type: DataType) -> Option<sys::CUtensorMapDataType> {
    use sys::CUtensorMapDataType_enum as Type;
    Some(match data_type {
        DataType::F16 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DataType::Bf16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DataType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DataType::I8 | DataType::U8 | DataType::F8E4M3FN | DataType::F8E5M2 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        _ => return None,
    })
}

impl TensorMap {
    /// May the driver encode the map?
    ///
    /// # Errors
    /// The condition that it does not meet.
    pub fn check(&self) -> Result<(), DriverError> {
        let axes = self.sizes.len();
        let bytes = element_bytes(self.data_type) as u64;
        let require = |holds: bool, what: &dyn Fn() -> String| if holds { Ok(()) } else { Err(refused(what())) };
        require(driver_type(self.data_type).is_some(), &|| format!("no map of elements of type {}", self.data_type))?;
        require((1..=MOST_AXES).contains(&axes) && self.strides.len() + 1 == axes, &|| {
            format!("{axes} axes with {} strides", self.strides.len())
        })?;
        require(self.address.is_multiple_of(UNIT), &|| format!("the address {:#x} is not aligned", self.address))?;
        let is_size = |size: &u64| (1..=1 << 32).contains(size);
        require(self.sizes.iter().all(is_size), &|| format!("sizes {:?}", self.sizes))?;
        let is_stride = |stride: &u64| stride.is_multiple_of(UNIT) && *stride < 1 << 40;
        require(self.strides.iter().all(is_stride), &|| format!("strides of {:?} bytes", self.strides))?;
        let fits_row = |elements: u32| {
            let row = u64::from(elements) * bytes;
            row.is_multiple_of(UNIT) && row > 0 && row <= self.swizzle.bytes()
        };
        let is_tile = match &self.tile {
            Tile::Box(sizes) => {
                let is_side = |side: &u32| (1..=MOST_TILE).contains(side);
                sizes.len() == axes && sizes.iter().all(is_side) && sizes.first().is_some_and(|row| fits_row(*row))
            }
            Tile::Windows { lower, upper, strides, channels, pixels } => {
                let spatial = axes.saturating_sub(2);
                // The driver has sixteen bits for the corners of a window.
                let bits = match spatial {
                    1 => 16,
                    2 => 8,
                    _ => 5,
                };
                let is_corner = |corner: &i32| (-(1 << (bits - 1))..1 << (bits - 1)).contains(corner);
                (1..=3).contains(&spatial)
                    && [lower.len(), upper.len(), strides.len()].iter().all(|length| *length == spatial)
                    && lower.iter().chain(upper).all(is_corner)
                    && strides.iter().all(|stride| (1..=MOST_STEP).contains(stride))
                    && (1..=MOST_PIXELS).contains(pixels)
                    && *channels <= MOST_TILE
                    && fits_row(*channels)
            }
        };
        require(is_tile, &|| format!("tiles of {:?} with {:?}", self.tile, self.swizzle))
    }

    /// The words of the map.
    ///
    /// # Errors
    /// See [`TensorMap::check`]; and when the machine has no driver.
    pub fn encode(&self) -> Result<Words, DriverError> {
        use sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE as ZEROS;
        use sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE as PLAIN;
        use sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B as LINES;
        self.check()?;
        library::driver()?;
        let missing = || refused(format!("no map of elements of type {}", self.data_type));
        let data_type = driver_type(self.data_type).ok_or_else(missing)?;
        let axes = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let address = std::ptr::without_provenance_mut(usize::try_from(self.address).unwrap_or(usize::MAX));
        let swizzle = match self.swizzle {
            Swizzle::Bytes32 => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_32B,
            Swizzle::Bytes64 => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_64B,
            Swizzle::Bytes128 => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
        };
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        // Neighbours in memory of a tile along each axis.
        let mut steps = [1u32; MOST_AXES];
        let result = match &self.tile {
            // SAFETY: `check` compared the lengths of all lists with the number of axes; the driver stores the map, and
            // reads no memory of the device.
            Tile::Box(sizes) => unsafe {
                sys::cuTensorMapEncodeTiled(
                    &mut map,
                    data_type,
                    axes,
                    address,
                    self.sizes.as_ptr(),
                    self.strides.as_ptr(),
                    sizes.as_ptr(),
                    steps.as_ptr(),
                    PLAIN,
                    swizzle,
                    LINES,
                    ZEROS,
                )
            },
            Tile::Windows { lower, upper, strides, channels, pixels } => {
                steps.iter_mut().skip(1).zip(strides).for_each(|(step, stride)| *step = *stride);
                // SAFETY: as above.
                unsafe {
                    sys::cuTensorMapEncodeIm2col(
                        &mut map,
                        data_type,
                        axes,
                        address,
                        self.sizes.as_ptr(),
                        self.strides.as_ptr(),
                        lower.as_ptr(),
                        upper.as_ptr(),
                        *channels,
                        *pixels,
                        steps.as_ptr(),
                        PLAIN,
                        swizzle,
                        LINES,
                        ZEROS,
                    )
                }
            }
        };
        check("cuTensorMapEncode", result)?;
        Ok(map.opaque)
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    /// Tiles of 64 x 128 of a matrix of 1000 rows of 512 elements.
    fn matrix() -> TensorMap {
        TensorMap {
            data_type: DataType::F16,
            address: 0x7000_0000_0000,
            sizes: smallvec![512, 1000],
            strides: smallvec![1024],
            tile: Tile::Box(smallvec![64, 128]),
            swizzle: Swizzle::Bytes128,
        }
    }

    /// A window of 3 x 3 with a border of one pixel, over images of 56 x 56 pixels of 64 channels.
    fn windows() -> TensorMap {
        TensorMap {
            sizes: smallvec![64, 56, 56, 8],
            strides: smallvec![128, 56 * 128, 56 * 56 * 128],
            tile: Tile::Windows {
                lower: smallvec![-1, -1],
                upper: smallvec![-1, -1],
                strides: smallvec![1, 1],
                channels: 64,
                pixels: 128,
            },
            ..matrix()
        }
    }

    #[test]
    fn every_condition_is_checked() {
        let maps: [fn() -> TensorMap; 2] = [matrix, windows];
        for map in maps {
            assert_eq!(map().check(), Ok(()));
            let changes: [fn(&mut TensorMap); 6] = [
                |map| map.address += 8,
                |map| map.strides[0] += 2,
                |map| map.sizes[1] = 0,
                |map| map.strides.clear(),
                |map| map.data_type = DataType::Bool,
                |map| map.swizzle = Swizzle::Bytes64,
            ];
            for (number, change) in changes.iter().enumerate() {
                let mut changed = map();
                change(&mut changed);
                assert!(changed.check().is_err(), "change {number} of {changed:?}");
            }
        }
        for tile in [Tile::Box(smallvec![64]), Tile::Box(smallvec![64, 257]), Tile::Box(smallvec![4, 8])] {
            assert!(TensorMap { tile, ..matrix() }.check().is_err());
        }
        let mut far = windows();
        let Tile::Windows { lower, .. } = &mut far.tile else { panic!("windows") };
        lower[0] = -129;
        assert!(far.check().is_err(), "corners of two spatial axes have eight bits");
    }

    #[test]
    fn a_driver_encodes_what_the_check_admits() {
        for map in [matrix(), windows()] {
            match (map.encode(), library::driver()) {
                (Ok(words), Ok(_)) => assert_ne!(words, [0; 16]),
                (Err(error), Err(missing)) => assert_eq!(error, missing),
                (found, _) => panic!("{found:?}"),
            }
        }
    }
}

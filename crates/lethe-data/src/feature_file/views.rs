//! One array of random views, `[q, n, d]`.

use std::path::Path;

use ndarray::{Array3, Ix2, Ix3};

use super::container::{Array, Container, Format, in_rows, subject};
use super::encoding::Kind;
use super::layout::expect_finite;
use crate::error::{At, Error, Result};

/// Reads q random views of n images, `[q, n, d]`: an `.npy`, the only float array of an `.npz` or a safetensors file,
/// or the one that `key` names there. With `views`, the rows of a 2-D array are views as well: image i has the rows
/// i q to i q + q - 1.
///
/// # Errors
/// Names the file, the array and what was expected; values that are not finite are named by their place.
pub fn read_views(path: &Path, key: Option<&str>, views: Option<usize>) -> Result<Array3<f64>> {
    let mut file = Container::open(path)?;
    let place = choose(&file.arrays, file.format, key, &file.held()).at(path)?;
    let name = file.arrays[place].name.clone();
    let of_array = |error: Error| if name.is_empty() { error.at(path) } else { error.of(&subject(&name)).at(path) };
    file.arrays[place].expect_floats().map_err(of_array)?;
    let q = count(&file.arrays[place], views).map_err(of_array)?;
    let values = file.floats(place).at(path)?;
    expect_finite(&values.view(), &name).at(path)?;
    let not_views = |_| of_array(Error::failed("expected [q views, n images, d]"));
    if values.ndim() == 3 {
        return in_rows(values).into_dimensionality::<Ix3>().map_err(not_views);
    }
    let rows = in_rows(values).into_dimensionality::<Ix2>().map_err(not_views)?;
    let (n, d) = (rows.nrows() / q, rows.ncols());
    let by_image = rows.into_shape_with_order((n, q, d)).map_err(not_views)?;
    Ok(by_image.permuted_axes([1, 0, 2]).as_standard_layout().into_owned())
}

/// The place of the array that is meant.
fn choose(arrays: &[Array], format: Format, key: Option<&str>, held: &str) -> Result<usize> {
    if format == Format::Npy {
        return match key {
            None => Ok(0),
            Some(_) => Err(Error::usage("an .npy has one array without a name, so --key does not apply")),
        };
    }
    if let Some(key) = key {
        return arrays
            .iter()
            .position(|array| array.name == key)
            .ok_or_else(|| Error::usage(format!("--key {key}: no array of that name, but {held}")));
    }
    let can_be = |array: &Array| array.kind() == Kind::Float && (2..=3).contains(&array.shape.len());
    let mut places = (0..arrays.len()).filter(|&place| can_be(&arrays[place]));
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(Error::failed(format!("no float array [q, n, d], but {held}"))),
        _ => Err(Error::usage(format!("several arrays: {held}")).hint("--key NAME chooses one")),
    }
}

/// How many views of every image an array holds.
fn count(array: &Array, views: Option<usize>) -> Result<usize> {
    let shape = &array.shape;
    let q = match (shape.as_slice(), views) {
        (_, Some(q)) if q < 2 => return Err(Error::usage("--views: expected at least 2 views an image")),
        ([q, _, _], Some(views)) if *q != views => {
            return Err(Error::usage(format!("shape {shape:?} holds {q} views an image, --views says {views}")));
        }
        ([q, _, _], _) => *q,
        ([rows, _], Some(views)) if !rows.is_multiple_of(views) => {
            return Err(Error::usage(format!("{rows} rows do not fall into images of {views} rows each"))
                .hint("--views Q: rows i Q to i Q + Q - 1 are the views of image i"));
        }
        ([_, _], Some(views)) => views,
        ([_, _], None) => {
            return Err(Error::usage(format!("shape {shape:?}, expected [q views, n images, d]"))
                .hint("--views Q takes every Q rows for the views of one image"));
        }
        _ => return Err(Error::failed(format!("shape {shape:?}, expected [q views, n images, d]"))),
    };
    if shape.contains(&0) {
        return Err(Error::failed(format!("shape {shape:?}: there is nothing in it")));
    }
    if q < 2 {
        return Err(Error::failed("1 view an image, expected at least 2")
            .hint("memorisation is told from several random views of every image"));
    }
    Ok(q)
}

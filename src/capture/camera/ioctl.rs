//! Asks a driver which device it is, which controls it has, and their values.
//!
//! The crate v4l can do this too, but panics on some answers.

use std::io;

use v4l::control::{MenuItem, Type};
use v4l::v4l_sys::{V4L2_CTRL_FLAG_DISABLED, V4L2_CTRL_FLAG_INACTIVE, V4L2_CTRL_FLAG_NEXT_CTRL};
use v4l::v4l_sys::{V4L2_CTRL_FLAG_READ_ONLY, V4L2_CTRL_FLAG_WRITE_ONLY};
use v4l::v4l_sys::{v4l2_capability, v4l2_control, v4l2_query_ext_ctrl, v4l2_querymenu};
use v4l::v4l2::{self, vidioc};

/// The driver of a node, and its device.
pub(super) struct Identity {
    pub driver: String,
    pub card: String,
    pub bus: String,
    /// Whether it gives each frame in one buffer and not in several planes.
    pub captures: bool,
    pub captures_in_planes: bool,
}

/// A control with a number for its value.
pub(super) struct ControlFacts {
    pub id: u32,
    pub name: String,
    pub minimum: i64,
    pub maximum: i64,
    pub step: u64,
    pub default: i64,
    pub read_only: bool,
    /// Can be set, but has no effect at present, because an automatic mode controls it.
    pub inactive: bool,
    pub items: Vec<(u32, MenuItem)>,
}

pub(super) fn identity(device: &v4l::Device) -> io::Result<Identity> {
    const CAPTURE: u32 = 0x1;
    const CAPTURE_MPLANE: u32 = 0x1000;
    const STREAMING: u32 = 0x0400_0000;
    let answer = ask::<v4l2_capability>(device, vidioc::VIDIOC_QUERYCAP, |_| ())?;
    let has = |flags| answer.device_caps & flags == flags;
    Ok(Identity {
        driver: text(&answer.driver),
        card: text(&answer.card),
        bus: text(&answer.bus_info),
        captures: has(CAPTURE | STREAMING),
        captures_in_planes: has(CAPTURE_MPLANE),
    })
}

/// The controls that can be read and hold a 32-bit number, a switch or a choice, in the driver's order.
pub(super) fn controls(device: &v4l::Device) -> io::Result<Vec<ControlFacts>> {
    let mut controls = Vec::new();
    let mut id = 0;
    // No compound controls: they hold no number.
    while let Some(answer) =
        question::<v4l2_query_ext_ctrl>(device, vidioc::VIDIOC_QUERY_EXT_CTRL, |question| {
            question.id = id | V4L2_CTRL_FLAG_NEXT_CTRL;
        })?
    {
        id = answer.id;
        let kind = match Type::try_from(answer.type_) {
            Ok(kind @ (Type::Integer | Type::Boolean | Type::Menu | Type::IntegerMenu)) => kind,
            _ => continue,
        };
        let has = |flag| answer.flags & flag != 0;
        if has(V4L2_CTRL_FLAG_DISABLED) || has(V4L2_CTRL_FLAG_WRITE_ONLY) || answer.elems > 1 {
            continue;
        }
        let name = answer.name.map(|character| character as u8);
        controls.push(ControlFacts {
            id,
            name: text(&name),
            minimum: answer.minimum,
            maximum: answer.maximum,
            step: answer.step,
            default: answer.default_value,
            read_only: has(V4L2_CTRL_FLAG_READ_ONLY),
            inactive: has(V4L2_CTRL_FLAG_INACTIVE),
            items: items(device, &answer, kind)?,
        });
    }
    Ok(controls)
}

pub(super) fn value(device: &v4l::Device, id: u32) -> io::Result<i64> {
    let answer = ask::<v4l2_control>(device, vidioc::VIDIOC_G_CTRL, |question| question.id = id)?;
    Ok(answer.value.into())
}

pub(super) fn set_value(device: &v4l::Device, id: u32, value: i64) -> io::Result<()> {
    let number = i32::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))?;
    ask::<v4l2_control>(device, vidioc::VIDIOC_S_CTRL, |order| {
        order.id = id;
        order.value = number;
    })
    .map(drop)
}

/// The items of a menu. The driver may skip some numbers.
fn items(
    device: &v4l::Device,
    control: &v4l2_query_ext_ctrl,
    kind: Type,
) -> io::Result<Vec<(u32, MenuItem)>> {
    let mut items = Vec::new();
    if matches!(kind, Type::Menu | Type::IntegerMenu) {
        for index in control.minimum..=control.maximum {
            let index = u32::try_from(index).map_err(io::Error::other)?;
            let answer = question::<v4l2_querymenu>(device, vidioc::VIDIOC_QUERYMENU, |question| {
                question.id = control.id;
                question.index = index;
            })?;
            let item = answer.and_then(|answer| MenuItem::try_from((kind, answer)).ok());
            items.extend(item.map(|item| (index, item)));
        }
    }
    Ok(items)
}

/// Like [`ask`], but `None` where the driver answers that it has no such thing.
fn question<T>(
    device: &v4l::Device,
    request: vidioc::_IOC_TYPE,
    fill: impl FnOnce(&mut T),
) -> io::Result<Option<T>> {
    match ask(device, request, fill) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `T` must be the structure that the request takes.
#[allow(unsafe_code)]
fn ask<T>(device: &v4l::Device, request: vidioc::_IOC_TYPE, fill: impl FnOnce(&mut T)) -> io::Result<T> {
    // SAFETY: every `T` here is a structure of V4L2 made of integers and arrays of them, for which zeros are valid;
    // each call above pairs it with the request that takes it; the driver writes into it only while the call lasts.
    unsafe {
        let mut argument: T = std::mem::zeroed();
        fill(&mut argument);
        v4l2::ioctl(device.handle().fd(), request, (&raw mut argument).cast())?;
        Ok(argument)
    }
}

/// The text up to the first zero, without blanks at its ends. Bytes that are not UTF-8 become a replacement character.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_zero_has_no_blanks_around_it_and_need_not_be_utf_8() {
        assert_eq!(text(b"UVC Camera\0\0rest"), "UVC Camera");
        assert_eq!(text(b"cam \xE6\x91"), "cam \u{FFFD}");
        assert_eq!(text(b"  HD Camera \n\0\0"), "HD Camera", "drivers pad names with blanks");
        assert_eq!(text(b"no zero "), "no zero");
    }

    #[test]
    fn a_device_that_is_no_camera_is_recognised() {
        let device = v4l::Device::with_path("/dev/null").unwrap();
        assert_eq!(identity(&device).err().unwrap().raw_os_error(), Some(libc::ENOTTY));
        assert!(controls(&device).unwrap().is_empty());
    }
}

//! What a picture file says about itself is followed or refused, and a file that lost data is a bad frame.

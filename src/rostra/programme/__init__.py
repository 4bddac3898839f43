"""The programme: hold music or talk, frame by frame, encoded once per rendition and cut into fragments."""

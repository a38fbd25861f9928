//! The grammar against itself, and against the real `ovs-ofctl` where it is installed.

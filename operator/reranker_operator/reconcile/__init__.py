"""The loop: observe -> plan -> apply -> report, for one service at a time, whatever event asked for it."""

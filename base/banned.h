/*
 * banned.h - functions that have a safer twin.  Using one does not compile.
 *
 * Include it last, in a .c file's list of base headers.
 */
#pragma once

#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok strncpy strncat
#pragma GCC poison atoi atol atof mktemp tmpnam asctime ctime
